// Nodes to run, and what came of them, as files: numbers are little-endian, as on all processors here.
//
//     cases   = count32 { op name count32 { attribute } count32 { input } }
//     op, name = text
//     text    = length32 { byte }
//     attribute = text kind8 count32 { value64 }      kind 0: an integer, 1: a list of integers
//     input   = type32 [ constant8 rank32 { size64 } { byte } ]      type 0: left out, without the rest
//     results = count32 { 1 count32 { type32 rank32 { size64 } { byte } } | 0 text }
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "runtime.h"

namespace driver {

struct Case {
  std::string op;
  OrtKernelInfo node;
};

struct Result {
  bool computed = false;
  std::string refusal;
  std::vector<OrtValue> outputs;
};

// Throws std::runtime_error if the file ends too early.
std::vector<Case> read_cases(const char* path);

void write_results(const char* path, const std::vector<Result>& results);

}  // namespace driver
