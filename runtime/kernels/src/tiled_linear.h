// A binary linear layer by matrix tiles: its weights in the order of the tiles, and its product.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "packed_weights.h"
#include "tile_kernel.h"

namespace edgepack {

class TiledLinear {
 public:
  // As PackedWeights takes them.
  TiledLinear(const TileKernel& kernel, size_t n, size_t k, const uint8_t* file, const Finish& finish);

  // One call of the layer, shared by any number of threads: each of them calls `work` once.
  //
  // A thread takes two groups of rows, signs them, and multiplies them, part by part of the channels. Where no
  // groups are left to take it takes parts of groups that others have begun: cores of a shared machine are not
  // equally fast.
  class Call {
   public:
    // x is [rows, k] or [rows, ceil(k / 8)], y [rows, n] or [rows, ceil(n / 8)]; the threshold is [k] or null.
    // `alone` where one thread will come.
    Call(const TiledLinear& layer, const TileInput& x, size_t rows, const TileOutput& y, bool alone);

    void work();

   private:
    struct alignas(64) Pair {
      std::atomic<bool> is_signed{false};
      std::atomic<size_t> next_part{0};
    };

    void sign(size_t pair);
    void multiply(size_t pair);

    const TiledLinear& layer_;
    TileInput x_;
    size_t rows_;
    TileOutput y_;
    size_t panels_;  // of a part
    size_t parts_;   // of two groups
    Buffer<int8_t> signs_;  // [groups, steps, 16, 64]
    std::vector<Pair> pairs_;
    std::atomic<size_t> next_pair_{0};
    std::atomic<bool> nothing_left_{false};
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
