// One node of a file, read and checked: what binary layers of every kind have in common.
//
// Their inputs are x, weights, alpha, bias and perhaps shift; all but x are constants of the graph.
#pragma once

#include <string>
#include <vector>

#include "ort_values.h"

namespace edgepack {

enum LayerInput : size_t { kX, kWeights, kAlpha, kBias, kShift, kLayerInputs };

class LayerNode {
 public:
  LayerNode(const char* op, const OrtApi* api, const OrtKernelInfo* info);

  // Throws that this node is wrong in this way.
  [[noreturn]] void refuse(const std::string& what) const;

  // An attribute from `least` to `most`; refused if it is missing, of another type or out of bounds.
  size_t integer(const char* attribute, int64_t least, int64_t most) const;
  std::vector<size_t> integers(const char* attribute, size_t count, int64_t least, int64_t most) const;

  // The packed weights, of `rank` dimensions and at least one of each.
  ort::Tensor weights(size_t rank, const char* layout) const;

  // float32 [n].
  const float* floats(LayerInput input, int64_t n) const;

  // -shift of each of k channels; empty where there is no shift, or it is zero throughout.
  std::vector<float> thresholds(size_t k) const;

 private:
  ort::Tensor constant(LayerInput input, ONNXTensorElementDataType type) const;

  ort::NodeInfo info_;
  std::string where_;
};

}  // namespace edgepack
