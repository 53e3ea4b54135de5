// A binary convolution by matrix tiles: its weights in the order of the tiles, and its product.
//
// An image lies as conv_plan.h says, with words of four channels, a byte each, instead of words of 32
// channels, a bit each. A tile of activations is then sixteen words of channels at sixteen adjacent
// positions, and the tile that a tap meets is the same tile elsewhere. Zeros around the image are zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "buffer.h"
#include "conv_plan.h"
#include "ort_values.h"
#include "tile_kernel.h"

namespace edgepack {

struct ConvShape {
  size_t channels;  // K, of a group
  size_t outputs;   // N
  size_t groups;
  ConvAxis rows;
  ConvAxis columns;
};

class TiledConv {
 public:
  // `file` is uint8 [N, kernel height, kernel width, ceil(K / 8)]; `alpha` and `bias` are [N].
  TiledConv(const TileKernel& kernel, const ConvShape& shape, const uint8_t* file, const float* alpha,
            const float* bias);

  // x [batch, K groups, height, width] to y [batch, N, ...]; `threshold` is [K groups] or null.
  void convolve(const OrtApi* api, OrtKernelContext* context, const float* x, const float* threshold,
                size_t batch, size_t height, size_t width, float* y) const;

 private:
  struct Plan;

  std::shared_ptr<const Plan> plan_for(size_t height, size_t width) const;
  size_t outputs() const { return shape_.outputs / shape_.groups; }                        // of a group
  size_t panels() const { return (outputs() + kTileChannels - 1) / kTileChannels; }        // of a group
  size_t blocks() const { return (shape_.channels + kTileTerms - 1) / kTileTerms; }        // of a tap
  size_t words() const { return blocks() * kTileSide; }                                    // of a pixel
  size_t steps() const { return shape_.rows.kernel * shape_.columns.kernel * blocks(); }
  void sign_plane(const Plan& plan, const float* x, const float* threshold, size_t group, size_t word,
                  uint32_t* line, uint32_t* to) const;

  const TileKernel& kernel_;
  ConvShape shape_;
  Buffer<uint64_t> weights_;  // [groups, panels, steps, 2, 16]
  std::vector<float> alpha_;  // [groups, panels * 32]
  std::vector<float> bias_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Plan> last_;
};

}  // namespace edgepack
