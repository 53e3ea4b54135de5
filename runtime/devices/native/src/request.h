// What the host asks for: one file, written by `runtime/devices/native/request.py` and read here.
//
//     request   "EDGEPACK" version:u32  library:text  kernels:text  threads:u32
//               root:text  globs:list(text)  parts:list(part)  links:list(link)
//               units:list(unit)  plans:list(plan)  settings
//     part      name:text  file:text  inputs:list(text)  outputs:list(text)
//     link      from part, output, to part, input: u32 each, places in the lists above
//     unit      name:text  linked:u32  calls:list(call)
//     call      part:u32  tensors:list(input:u32  type:u32  shape:list(i64)  bytes)
//     plan      name:text  cpus:list(u32)  threads:u32         no cpus: wherever the system puts it
//     settings  fewest samples:u32  least, most, between readings, rest between measurements: f64 seconds
//
// Numbers are little-endian; text, lists and bytes begin with their length (u32; bytes: u64).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgepack::runner {

struct Part {
  std::string name;
  std::string file;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
};

// An output that is an input of a later call.
struct Link {
  uint32_t from_part, output, to_part, input;
};

struct Given {
  uint32_t input;  // place in the part's inputs
  uint32_t type;   // ONNX's number of an element type
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;
};

struct Call {
  uint32_t part;
  std::vector<Given> given;
};

// Calls that are timed, or checked, together.
struct Unit {
  std::string name;
  bool linked;  // states are kept from one call to the next, and forgotten between repetitions
  std::vector<Call> calls;
};

struct Plan {
  std::string name;
  std::vector<uint32_t> cpus;
  uint32_t threads;
};

struct Settings {
  uint32_t fewest;
  double least_s, most_s, every_s, rest_s;
};

struct Request {
  std::string library;  // of ONNX Runtime
  std::string kernels;  // of native operators, empty for none
  uint32_t threads;
  std::string root;
  std::vector<std::string> globs;
  std::vector<Part> parts;
  std::vector<Link> links;
  std::vector<Unit> units;
  std::vector<Plan> plans;
  Settings settings;
};

// Throws std::runtime_error when the file cannot be read or is no request.
Request read_request(const std::string& path);

}  // namespace edgepack::runner
