#include "ort_values.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace edgepack::ort {

void check(const OrtApi* api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = GetErrorMessage::call(api, status);
  ReleaseStatus::call(api, status);
  throw std::runtime_error(message);
}

namespace {

// The table of a runtime that is known to have the entries of version 24. Older ones of the same process have another.
std::atomic<const OrtApi*> with_references{nullptr};

// From a version like "1.31.1": 31, which is the version of the table too; 0 if it is no such thing.
int minor_version(const char* version) {
  const char* point = version == nullptr ? nullptr : std::strchr(version, '.');
  return point == nullptr ? 0 : std::atoi(point + 1);
}

Shape shape_of(const OrtApi* api, const OrtValue* value, ONNXTensorElementDataType* type) {
  if (api == with_references.load(std::memory_order_relaxed)) {
    const int64_t* sizes = nullptr;
    size_t rank = 0;
    check(api, GetTensorElementTypeAndShapeDataReference::call(api, value, type, &sizes, &rank));
    return {sizes, rank};
  }
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, GetTensorTypeAndShape::call(api, value, &info));
  const auto release = [api](OrtTensorTypeAndShapeInfo* made) { ReleaseTensorTypeAndShapeInfo::call(api, made); };
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(release)> held(info, release);
  size_t rank = 0;
  check(api, GetTensorElementType::call(api, info, type));
  check(api, GetDimensionsCount::call(api, info, &rank));
  Shape shape(rank);
  check(api, GetDimensions::call(api, info, shape.data(), rank));
  return shape;
}

}  // namespace

void remember(const OrtApiBase* base, const OrtApi* api) {
  if (minor_version(base->GetVersionString()) >= kVersionOfReferences) with_references.store(api);
}

Tensor tensor_of(const OrtApi* api, const OrtValue* value) {
  if (value == nullptr) throw InvalidArgument("edgepack: an input that is required is missing");
  Tensor tensor{};
  tensor.shape = shape_of(api, value, &tensor.type);
  void* data = nullptr;
  check(api, GetTensorMutableData::call(api, const_cast<OrtValue*>(value), &data));
  tensor.data = data;
  return tensor;
}

std::string shown(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

size_t NodeInfo::input_count() const {
  size_t count = 0;
  check(api_, KernelInfoGetInputCount::call(api_, info_, &count));
  return count;
}

std::string NodeInfo::name() const {
  size_t size = 0;
  check(api_, KernelInfoGetNodeName::call(api_, info_, nullptr, &size));
  std::string text(size, '\0');
  check(api_, KernelInfoGetNodeName::call(api_, info_, text.data(), &size));
  if (!text.empty()) text.pop_back();  // the size counts the zero at the end
  return text;
}

std::optional<int64_t> NodeInfo::integer(const char* attribute) const {
  int64_t value = 0;
  OrtStatus* status = KernelInfoGetAttributeInt64::call(api_, info_, attribute, &value);
  if (status == nullptr) return value;
  ReleaseStatus::call(api_, status);
  return std::nullopt;
}

std::optional<std::vector<int64_t>> NodeInfo::integers(const char* attribute) const {
  size_t size = 0;
  OrtStatus* status = KernelInfoGetAttributeArrayInt64::call(api_, info_, attribute, nullptr, &size);
  if (status != nullptr) {
    ReleaseStatus::call(api_, status);
    return std::nullopt;
  }
  std::vector<int64_t> values(size);
  check(api_, KernelInfoGetAttributeArrayInt64::call(api_, info_, attribute, values.data(), &size));
  return values;
}

std::optional<Tensor> NodeInfo::constant(size_t input) const {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(api_, KernelInfoGetConstantInputTensor::call(api_, info_, input, &is_constant, &value));
  if (is_constant == 0 || value == nullptr) return std::nullopt;
  return tensor_of(api_, value);
}

}  // namespace edgepack::ort
