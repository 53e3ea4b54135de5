// ONNX Runtime, loaded by its file's path, and its objects with owners.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ort_values.h"
#include "request.h"

namespace edgepack::runner {

class Runtime;

// A tensor of the runtime's. One that was made from a request's bytes refers to them.
class Value {
 public:
  Value() = default;
  Value(const OrtApi* api, OrtValue* value) : api_(api), value_(value) {}
  ~Value();
  Value(Value&& other) noexcept;
  Value& operator=(Value&& other) noexcept;

  OrtValue* get() const { return value_; }

 private:
  const OrtApi* api_ = nullptr;
  OrtValue* value_ = nullptr;
};

// A part's file, loaded: one thread between operators, silent, all graph optimizations (the runtime's default).
class Session {
 public:
  Session(const Runtime& runtime, const Part& part, uint32_t threads);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Outputs in the part's order; `inputs` likewise.
  void run(const std::vector<const OrtValue*>& inputs, std::vector<OrtValue*>& outputs) const;

 private:
  const OrtApi* api_;
  std::string name_;
  OrtSession* session_ = nullptr;
  std::vector<std::string> input_texts_, output_texts_;
  std::vector<const char*> inputs_, outputs_;
};

class Runtime {
 public:
  // Loads a library; `kernels` is a library of native operators or empty. Throws std::runtime_error.
  Runtime(const std::string& library, const std::string& kernels);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const OrtApi* api() const { return api_; }
  const OrtEnv* environment() const { return environment_; }
  const std::string& kernels() const { return kernels_; }
  const std::string& version() const { return version_; }

  // Refers to the bytes of `given`.
  Value value(const Given& given) const;

 private:
  const OrtApi* api_ = nullptr;
  OrtEnv* environment_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
  std::string kernels_, version_;
};

// Bytes of one element of ONNX's type number; throws for types without a fixed size.
size_t element_size(int type);

}  // namespace edgepack::runner
