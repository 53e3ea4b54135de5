// ONNX Runtime's objects for C++: failures as exceptions on this side, as statuses on the other.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_c_api.h"

namespace edgepack::ort {

// What the user's file or call got wrong; becomes a status with this sentence.
struct InvalidArgument : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws what a status says, and releases it.
void check(const OrtApi* api, OrtStatus* status);

struct Tensor {
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
  const void* data;
};

// Shape, type and data of a value that is a tensor.
Tensor tensor_of(const OrtApi* api, const OrtValue* value);

// "[2, 768]"
std::string shown(const std::vector<int64_t>& shape);

// What an operator can ask while it is made for one node.
class NodeInfo {
 public:
  NodeInfo(const OrtApi* api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  size_t input_count() const;
  std::string name() const;

  // The attribute, or nothing if the node lacks it or it is no integer.
  std::optional<int64_t> integer(const char* attribute) const;

  // The attribute's values, or nothing if the node lacks it or it is no list of integers.
  std::optional<std::vector<int64_t>> integers(const char* attribute) const;

  // The input, or nothing if it is not a constant of the graph.
  std::optional<Tensor> constant(size_t input) const;

 private:
  const OrtApi* api_;
  const OrtKernelInfo* info_;
};

// Calls body(i) for i in 0 .. count - 1 on the session's own threads and waits for all of them. The
// body must not throw: it runs on threads that nobody catches for.
template <typename Body>
void parallel_for(const OrtApi* api, const OrtKernelContext* context, size_t count, const Body& body) {
  const auto call = [](void* data, size_t index) { (*static_cast<const Body*>(data))(index); };
  check(api, KernelContextParallelFor::call(api, context, call, count, 0, const_cast<Body*>(&body)));
}

// Runs body and turns what it throws into a status; null if it throws nothing.
template <typename Body>
OrtStatus* guarded(const OrtApi* api, const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return CreateStatus::call(api, ORT_FAIL, "edgepack: no memory left");
  } catch (const InvalidArgument& error) {
    return CreateStatus::call(api, ORT_INVALID_ARGUMENT, error.what());
  } catch (const std::exception& error) {
    return CreateStatus::call(api, ORT_FAIL, error.what());
  }
}

}  // namespace edgepack::ort
