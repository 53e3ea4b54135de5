// What a processor with matrix tiles has to provide: products of +-1 bytes, sixteen rows by sixteen columns
// by sixty-four terms an instruction. Only a large product is worth it; BitKernel serves the others.
//
// Weights stay in bits and become bytes of a scratch tile just before they are used: a model's weights take
// no more memory than they did, and come from the cache eight times faster than bytes would. Activations
// are signed to bytes, +1, -1, and 0 beyond K and around an image, where a product then adds nothing.
//
// Work goes by panels of 32 output channels, two halves, over groups of sixteen rows (of a matrix of
// activations) or sixteen positions (of an image, see conv_plan.h). A step is 64 terms of every sum.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace edgepack {

inline constexpr size_t kTileTerms = 64;     // of a step
inline constexpr size_t kTileSide = 16;      // rows, and columns, of a tile
inline constexpr size_t kTileChannels = 32;  // output channels of a panel
inline constexpr size_t kTileBytes = kTileSide * kTileTerms;

// Activations of linear layers stand in tiles: [groups of 16 rows, steps, 16 rows, 64 terms].
struct TileWork {
  const int8_t* activations;  // of the first group
  size_t group_bytes;         // from a group to the next
  size_t stride;              // bytes from a row of a tile of activations to the next
  const size_t* offsets;      // [steps]: bytes from a group to its tile of a step
  size_t steps;
  size_t groups;
  const uint64_t* weights;  // [panels, steps, 2, 16]: bits of 64 bytes of a tile, 1 is -1
  const float* alpha;       // [panels, 32]
  const float* bias;        // [panels, 32]
  size_t channels;          // that exist, in all panels
  float* y;                 // of the first channel
  size_t y_stride;          // floats from a row (linear) or a channel (conv) of the output to the next
  size_t rows;              // linear: that exist in all groups
  const uint16_t* stored;   // conv: as in ConvWork, from the first group on
  const size_t* starts;     // conv: the same
};

// Channels of an image, four a word, to be signed into a plane of words.
struct TileSigns {
  const float* x;          // of the first channel
  size_t plane;            // floats from a channel to the next
  size_t channels;         // 1 to 4
  const float* threshold;  // [channels], or null for 0
  size_t pixels;           // in a row
  size_t rows;
  uint32_t* words;  // of the first row's first pixel
  size_t pitch;     // words from a row to the next
};

struct TileKernel {
  // To be called by a thread around any number of calls of `linear` and `conv`.
  void (*begin)();
  void (*end)();

  // Signs of `rows` rows, 1 to 16, into the tiles of one group: -1 where x[k] < threshold[k] (0 where
  // `threshold` is null), 0 from k on.
  void (*sign_rows)(const float* x, const float* threshold, size_t k, size_t rows, int8_t* tiles);

  // Signs of channels into a word a pixel, channel 0 lowest; bytes of channels that do not exist are 0.
  void (*sign_pixels)(const TileSigns& work);

  // y = alpha * sum + bias, rounded after the product and after the sum. A row of a tile of weights is a
  // row of four terms of sixteen channels in `linear`, and a channel's 64 terms in `conv`.
  void (*linear)(const TileWork& work);
  void (*conv)(const TileWork& work);
};

#if defined(__x86_64__)
extern const TileKernel kAmxTiles;
#endif

}  // namespace edgepack
