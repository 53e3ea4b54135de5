// A binary layer as an operator of ONNX Runtime.
#pragma once

#include "layer_node.h"
#include "ort_values.h"

namespace edgepack {

// The name of a form.
constexpr const char* layer_name(const char* plain, const char* pack, const char* unpack, const char* bits, Form in,
                                 Form out) {
  if (in == Form::kNumbers) return out == Form::kNumbers ? plain : pack;
  return out == Form::kNumbers ? unpack : bits;
}

// `Layer` is made from (api, info) for each node, has a static `kName`, `kIn` and `kOut`, and `compute(context)`.
template <typename Layer>
const OrtCustomOp* layer_operator() {
  struct Kernel {
    const OrtApi* api;
    Layer layer;
  };
  static const OrtCustomOp made = [] {
    OrtCustomOp op{};
    op.version = ort::kVersion;
    op.GetName = [](const OrtCustomOp*) { return Layer::kName; };
    op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU's
    op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t {
      return Layer::kIn == Form::kNumbers ? kShift + 1 : kShift;
    };
    op.GetInputType = [](const OrtCustomOp*, size_t input) {
      if (input == kWeights || (input == kX && Layer::kIn == Form::kBits)) {
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
      }
      const bool limits = Layer::kOut == Form::kBits && (input == place_of(kLow) || input == place_of(kHigh));
      return limits ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    op.GetInputCharacteristic = [](const OrtCustomOp*, size_t input) {
      return input == kShift ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
    };
    op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
    op.GetOutputType = [](const OrtCustomOp*, size_t) {
      return Layer::kOut == Form::kBits ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
    op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
    op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
    op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
      return ort::guarded(api, [&] { *kernel = new Kernel{api, Layer(api, info)}; });
    };
    op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const Kernel& made_before = *static_cast<const Kernel*>(kernel);
      return ort::guarded(made_before.api, [&] { made_before.layer.compute(context); });
    };
    op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    return op;
  }();
  return &made;
}

// One of the four forms of `Layer<in, out>`.
template <template <Form, Form> typename Layer>
const OrtCustomOp* layer_operator_of(Form in, Form out) {
  constexpr Form kNumbers = Form::kNumbers;
  constexpr Form kBits = Form::kBits;
  if (in == kNumbers) {
    return out == kNumbers ? layer_operator<Layer<kNumbers, kNumbers>>() : layer_operator<Layer<kNumbers, kBits>>();
  }
  return out == kNumbers ? layer_operator<Layer<kBits, kNumbers>>() : layer_operator<Layer<kBits, kBits>>();
}

}  // namespace edgepack
