#include "layer_node.h"

#include <algorithm>
#include <cmath>

namespace edgepack {
namespace {

const char* const kNames[] = {"x", "weights", "alpha", "bias", "shift", "low", "high"};

std::string bounds(int64_t least, int64_t most) {
  return "from " + std::to_string(least) + " to " + std::to_string(most);
}

}  // namespace

LayerNode::LayerNode(const char* op, const OrtApi* api, const OrtKernelInfo* info) : info_(api, info) {
  const std::string name = info_.name();
  where_ = "edgepack::" + std::string(op) + (name.empty() ? "" : " '" + name + "'");
}

void LayerNode::refuse(const std::string& what) const { throw ort::InvalidArgument(where_ + ": " + what); }

size_t LayerNode::integer(const char* attribute, int64_t least, int64_t most) const {
  const std::optional<int64_t> value = info_.integer(attribute);
  if (!value || *value < least || *value > most) {
    refuse("the attribute " + std::string(attribute) + " must be an integer " + bounds(least, most));
  }
  return static_cast<size_t>(*value);
}

std::vector<size_t> LayerNode::integers(const char* attribute, size_t count, int64_t least,
                                        int64_t most) const {
  const std::optional<std::vector<int64_t>> values = info_.integers(attribute);
  const auto outside = [&](int64_t value) { return value < least || value > most; };
  if (!values || values->size() != count || std::any_of(values->begin(), values->end(), outside)) {
    refuse("the attribute " + std::string(attribute) + " must be " + std::to_string(count) +
           " integers " + bounds(least, most));
  }
  return {values->begin(), values->end()};
}

ort::Tensor LayerNode::constant(LayerInput input, ONNXTensorElementDataType type) const {
  const std::optional<ort::Tensor> found = info_.constant(place_of(input));
  const std::string name = kNames[input];
  if (!found) refuse(name + " must be a constant of the graph (an initializer that is no input)");
  if (found->type != type) refuse(name + " has a wrong element type");
  return *found;
}

ort::Tensor LayerNode::weights(size_t rank, const char* layout) const {
  const ort::Tensor packed = constant(kWeights, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
  const auto none = [](int64_t size) { return size < 1; };
  if (packed.shape.size() != rank || std::any_of(packed.shape.begin(), packed.shape.end(), none)) {
    refuse("weights has the shape " + ort::shown(packed.shape) + " instead of " + layout);
  }
  return packed;
}

const void* LayerNode::per_channel(LayerInput input, ONNXTensorElementDataType type, int64_t n) const {
  const ort::Tensor found = constant(input, type);
  if (found.shape != ort::Shape{n}) {
    refuse(std::string(kNames[input]) + " has the shape " + ort::shown(found.shape) + " instead of " +
           ort::shown({n}));
  }
  return found.data;
}

const float* LayerNode::floats(LayerInput input, int64_t n) const {
  return static_cast<const float*>(per_channel(input, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, n));
}

const int32_t* LayerNode::limits(LayerInput input, int64_t n) const {
  return static_cast<const int32_t*>(per_channel(input, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, n));
}

Finish LayerNode::finish(Form out, int64_t n) const {
  if (out == Form::kBits) return {nullptr, nullptr, limits(kLow, n), limits(kHigh, n)};
  return {floats(kAlpha, n), floats(kBias, n), nullptr, nullptr};
}

std::vector<float> LayerNode::thresholds(size_t k) const {
  if (info_.input_count() <= kShift) return {};
  const ort::Tensor given = constant(kShift, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  const bool one = given.shape == ort::Shape{1};
  const size_t count = one ? 1 : k;
  const float* values = floats(kShift, static_cast<int64_t>(count));
  if (std::any_of(values, values + count, [](float value) { return std::isnan(value); })) {
    refuse("shift holds a NaN");
  }
  if (std::all_of(values, values + count, [](float value) { return value == 0.0f; })) return {};
  std::vector<float> negated(k);
  for (size_t i = 0; i < k; ++i) negated[i] = -values[one ? 0 : i];
  return negated;
}

}  // namespace edgepack
