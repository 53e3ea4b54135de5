// ONNX Runtime's objects for C++: failures as exceptions on this side, as statuses on the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
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

// The dimensions of a tensor. Up to eight stand in the object itself: a layer of one row takes a few microseconds, and
// every allocation is a part of them.
class Shape {
 public:
  Shape() = default;
  explicit Shape(size_t rank) : rank_(rank) {
    if (rank > kFew) many_.resize(rank);
  }
  Shape(const int64_t* sizes, size_t rank) : Shape(rank) { std::copy_n(sizes, rank, data()); }
  Shape(std::initializer_list<int64_t> sizes) : Shape(sizes.begin(), sizes.size()) {}

  size_t size() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  const int64_t* data() const { return rank_ > kFew ? many_.data() : few_; }
  int64_t* data() { return rank_ > kFew ? many_.data() : few_; }
  const int64_t* begin() const { return data(); }
  const int64_t* end() const { return data() + rank_; }
  int64_t operator[](size_t i) const { return data()[i]; }
  int64_t& operator[](size_t i) { return data()[i]; }
  int64_t back() const { return data()[rank_ - 1]; }
  int64_t& back() { return data()[rank_ - 1]; }
  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }
  bool operator!=(const Shape& other) const { return !(*this == other); }

 private:
  static constexpr size_t kFew = 8;
  size_t rank_ = 0;
  int64_t few_[kFew];
  std::vector<int64_t> many_;
};

struct Tensor {
  ONNXTensorElementDataType type;
  Shape shape;
  const void* data;
};

// To be called with every runtime that this library is registered with, before `tensor_of`.
void remember(const OrtApiBase* base, const OrtApi* api);

// Shape, type and data of a value that is a tensor.
Tensor tensor_of(const OrtApi* api, const OrtValue* value);

// "[2, 768]"
std::string shown(const Shape& shape);

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
