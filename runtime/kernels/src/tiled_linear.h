// A binary linear layer by matrix tiles: its weights in the order of the tiles, and its product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "packed_weights.h"
#include "row_blocks.h"
#include "tile_kernel.h"

namespace edgepack {

class TiledLinear {
 public:
  // As PackedWeights takes them.
  TiledLinear(const TileKernel& kernel, size_t n, size_t k, const uint8_t* file, const Finish& finish);

  // One call of the layer, shared by any number of threads, which take two groups of rows at a time (row_blocks.h).
  class Call {
   public:
    // x is [rows, k] or [rows, ceil(k / 8)], y [rows, n] or [rows, ceil(n / 8)]; the threshold is [k] or null.
    // `alone` where one thread will come.
    Call(const TiledLinear& layer, const TileInput& x, size_t rows, const TileOutput& y, bool alone);

    // Each thread calls this once.
    void work(size_t index, size_t threads);

   private:
    void sign(size_t pair);
    void multiply(size_t pair, size_t part);

    const TiledLinear& layer_;
    TileInput x_;
    size_t rows_;
    TileOutput y_;
    size_t panels_;  // of a part
    Buffer<int8_t> signs_;  // [groups, steps, 16, 64]
    RowBlocks pairs_;
  };

  // Threads beyond this find little to do.
  size_t most_threads(size_t rows) const;

 private:
  size_t steps() const { return offsets_.size(); }
  size_t panels() const { return (n_ + kTileChannels - 1) / kTileChannels; }

  const TileKernel& kernel_;
  size_t n_;
  size_t k_;
  std::vector<size_t> offsets_;
  Buffer<uint64_t> weights_;  // [panels, steps, 2, 16]
  std::vector<float> alpha_;     // [panels * 32], or empty
  std::vector<float> bias_;      // the same
  std::vector<uint32_t> low_;    // [panels * 32], or empty
  std::vector<uint32_t> width_;  // the same
};

}  // namespace edgepack
