#include "ort_values.h"

namespace edgepack::ort {

void check(const OrtApi* api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = GetErrorMessage::call(api, status);
  ReleaseStatus::call(api, status);
  throw std::runtime_error(message);
}

Tensor tensor_of(const OrtApi* api, const OrtValue* value) {
  if (value == nullptr) throw InvalidArgument("edgepack: an input that is required is missing");
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, GetTensorTypeAndShape::call(api, value, &info));
  Tensor tensor{};
  try {
    size_t rank = 0;
    check(api, GetTensorElementType::call(api, info, &tensor.type));
    check(api, GetDimensionsCount::call(api, info, &rank));
    tensor.shape.resize(rank);
    check(api, GetDimensions::call(api, info, tensor.shape.data(), rank));
  } catch (...) {
    ReleaseTensorTypeAndShapeInfo::call(api, info);
    throw;
  }
  ReleaseTensorTypeAndShapeInfo::call(api, info);
  void* data = nullptr;
  check(api, GetTensorMutableData::call(api, const_cast<OrtValue*>(value), &data));
  tensor.data = data;
  return tensor;
}

std::string shown(const std::vector<int64_t>& shape) {
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
