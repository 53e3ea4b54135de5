// One node of a file, read and checked: what binary layers of every kind have in common.
//
// Their inputs are x, weights, alpha and bias, or low and high where bits come out, and perhaps a shift where
// numbers come in; all but x are constants of the graph.
#pragma once

#include <string>
#include <vector>

#include "ort_values.h"
#include "packed_weights.h"
#include "tile_kernel.h"

namespace edgepack {

enum LayerInput : size_t { kX, kWeights, kAlpha, kBias, kShift, kLow, kHigh };

// The place of an input among the node's: low and high stand where alpha and bias do.
constexpr size_t place_of(LayerInput input) { return input >= kLow ? input - kLow + kAlpha : input; }

// What goes into a layer and what comes out of it: numbers, or bits.
enum class Form { kNumbers, kBits };

// The same for tiles; `threshold` is empty where there is none.
inline TileInput tile_input(const float* x, const std::vector<float>& threshold) {
  return {x, threshold.empty() ? nullptr : threshold.data(), nullptr};
}
inline TileInput tile_input(const uint8_t* x, const std::vector<float>&) { return {nullptr, nullptr, x}; }
inline TileOutput tile_output(float* y) { return {y, nullptr}; }
inline TileOutput tile_output(uint8_t* y) { return {nullptr, y}; }

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

  // int32 [n].
  const int32_t* limits(LayerInput input, int64_t n) const;

  // alpha and bias, or low and high: each [n].
  Finish finish(Form out, int64_t n) const;

  // -shift of each of k channels; empty where there is no shift, or it is zero throughout.
  std::vector<float> thresholds(size_t k) const;

 private:
  ort::Tensor constant(LayerInput input, ONNXTensorElementDataType type) const;
  const void* per_channel(LayerInput input, ONNXTensorElementDataType type, int64_t n) const;

  ort::NodeInfo info_;
  std::string where_;
};

}  // namespace edgepack
