// As much of ONNX Runtime as the library of native operators asks for.
//
// The library is loaded, registered and called through the same table of functions that ONNX Runtime
// hands out, so what runs here is what runs there, down to the checks of a node's attributes. It serves
// where the real runtime cannot be had: on an emulated processor, and beneath a sanitizer, which sees
// every byte outside of a tensor because each tensor is an allocation of exactly its size.
//
// An entry of the table that is not written here ends the process and says its place.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ort_c_api.h"

struct OrtStatus {
  OrtErrorCode code;
  std::string message;
};

struct OrtValue {
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;
};

struct OrtTensorTypeAndShapeInfo {
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
};

struct OrtCustomOpDomain {
  std::string name;
  std::vector<const OrtCustomOp*> operators;
};

struct OrtSessionOptions {
  std::vector<OrtCustomOpDomain*> domains;
};

// What an operator sees of its node.
struct OrtKernelInfo {
  std::string name;
  std::map<std::string, int64_t> integers;
  std::map<std::string, std::vector<int64_t>> lists;
  std::vector<std::optional<OrtValue>> inputs;  // nothing where an optional one is left out
  std::vector<bool> constant;                   // [inputs]
};

// What an operator sees of one call. `outputs` has as many as the operator declares.
struct OrtKernelContext {
  const std::vector<std::optional<OrtValue>>* inputs;
  std::vector<OrtValue> outputs;
  std::vector<ONNXTensorElementDataType> output_types;
  size_t threads;
};

namespace driver {

// Bytes of one element.
size_t size_of(ONNXTensorElementDataType type);

// A library of operators, loaded and registered; throws std::runtime_error with what went wrong.
class Library {
 public:
  explicit Library(const char* path);

  // Registers once more, with options of its own.
  void register_again() const;

  // The operator of the domain edgepack; null if there is none of that name.
  const OrtCustomOp* find(const std::string& name) const;

  // The kernels that this processor runs, with commas between them.
  std::string kernels() const;

 private:
  void* handle_;
  OrtSessionOptions options_;
};

// An operator made for one node.
class Kernel {
 public:
  // Throws std::runtime_error with what the operator says against the node.
  Kernel(const OrtCustomOp* op, const OrtKernelInfo& node);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // One call with `inputs` on `threads` threads; calls may overlap. Throws std::runtime_error likewise.
  std::vector<OrtValue> run(const std::vector<std::optional<OrtValue>>& inputs, size_t threads) const;

 private:
  const OrtCustomOp* op_;
  void* kernel_ = nullptr;
};

}  // namespace driver
