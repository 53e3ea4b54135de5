// A binary layer as an operator of ONNX Runtime.
#pragma once

#include "layer_node.h"
#include "ort_values.h"

namespace edgepack {

// `Layer` is made from (api, info) for each node, has a static `kName`, and `compute(context)`.
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
    op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return kLayerInputs; };
    op.GetInputType = [](const OrtCustomOp*, size_t input) {
      return input == kWeights ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    op.GetInputCharacteristic = [](const OrtCustomOp*, size_t input) {
      return input == kShift ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
    };
    op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
    op.GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
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

}  // namespace edgepack
