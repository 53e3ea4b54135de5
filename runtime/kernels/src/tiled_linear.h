// A binary linear layer by matrix tiles: its weights in the order of the tiles, and its product.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "tile_kernel.h"

namespace edgepack {

class TiledLinear {
 public:
  // As PackedWeights takes them.
  TiledLinear(const TileKernel& kernel, size_t n, size_t k, const uint8_t* file, const float* alpha,
              const float* bias);

  // One call of the layer, shared by any number of threads: each of them calls `work` once.
  class Call {
   public:
    // x is [rows, k], y [rows, n]; `threshold` is [k] or null.
    Call(const TiledLinear& layer, const float* x, const float* threshold, size_t rows, float* y);

    // Threads beyond this find nothing to do.
    size_t most_threads() const;

    void work();

   private:
    const TiledLinear& layer_;
    const float* x_;
    const float* threshold_;
    size_t rows_;
    float* y_;
    Buffer<int8_t> signs_;  // [groups, steps, 16, 64]
    std::atomic<size_t> next_group_{0};
    std::atomic<size_t> signed_groups_{0};
    std::atomic<size_t> next_part_{0};
  };

 private:
  size_t steps() const { return offsets_.size(); }
  size_t panels() const { return alpha_.size() / kTileChannels; }

  const TileKernel& kernel_;
  size_t n_;
  size_t k_;
  std::vector<size_t> offsets_;
  Buffer<uint64_t> weights_;  // [panels, steps, 2, 16]
  std::vector<float> alpha_;  // [panels * 32]
  std::vector<float> bias_;   // [panels * 32]
};

}  // namespace edgepack
