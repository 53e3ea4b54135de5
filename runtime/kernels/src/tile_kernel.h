// What a processor with matrix tiles has to provide: products of +-1 bytes, sixteen rows by sixteen columns
// by sixty-four terms an instruction. Only a large product is worth it; BitKernel serves the others.
//
// Weights stay in bits and become bytes of a scratch tile just before they are used: a model's weights take
// no more memory than they did, and come from the cache eight times faster than bytes would. Activations
// are signed to bytes, +1, -1, and 0 beyond K and around an image, where a product then adds nothing.
//
// Work goes over groups of sixteen rows (of a matrix of activations) or sixteen positions (of an image, see
// conv_plan.h), two at a time, by panels of 32 output channels, two halves. A step is 64 terms of every sum.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace edgepack {

inline constexpr size_t kTileTerms = 64;     // of a step
inline constexpr size_t kTileSide = 16;      // rows, and columns, of a tile
inline constexpr size_t kTileChannels = 32;  // output channels of a panel
inline constexpr size_t kTileGroups = 2;     // that meet a panel together
// A panel of at most so many steps (36 KiB of bytes) stays expanded for at least so many groups.
inline constexpr size_t kTileStepsKept = 18;
inline constexpr size_t kTileGroupsKept = 16;
inline constexpr size_t kTileBytes = kTileSide * kTileTerms;

// What goes into a layer and comes out of it: numbers, or bits in bytes. The other is null.
struct TileInput {
  const float* numbers;
  const float* threshold;  // of numbers; null for 0
  const uint8_t* bits;
};
struct TileOutput {
  float* numbers;
  uint8_t* bits;
};

// Activations of linear layers stand in tiles: [groups of 16 rows, steps, 16 rows, 64 terms].
struct TileWork {
  const int8_t* activations;  // of the first group
  size_t group_bytes;         // from a group to the next
  size_t stride;              // bytes from a row of a tile of activations to the next
  const size_t* offsets;      // [steps]: bytes from a group to its tile of a step
  size_t steps;
  size_t groups;
  const uint64_t* weights;  // [panels, steps, 2, 16]: bits of 64 bytes of a tile, 1 is -1, ordered as in tile_bits.h
  const float* alpha;       // [panels, 32]
  const float* bias;        // [panels, 32]
  size_t channels;          // that exist, in all panels
  float* y;                 // of the first channel
  size_t y_stride;          // floats from a row (linear) or a channel (conv) of the output to the next
  size_t rows;              // linear: that exist in all groups
  const uint16_t* stored;   // conv: as in ConvWork, from the first group on
  const size_t* starts;     // conv: the same
  // Where bits come out, in the place of alpha, bias and y, as in bit_kernel.h:
  const uint32_t* low;    // [panels, 32]
  const uint32_t* width;  // [panels, 32], 0 for channels that do not exist
  uint8_t* bits;          // of the first eight channels; null where numbers come out
  size_t bits_stride;     // bytes from a row (linear) or eight channels (conv) to the next
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

// Four channels of an image of bytes, to become signs in a plane of words.
struct TileNibbles {
  const uint8_t* x;   // of the first row's first pixel
  unsigned first;     // bit of a byte that channel 0 is: 0 or 4
  size_t channels;    // 1 to 4
  size_t pixels;      // in a row
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

  // The same from bits: rows of ceil(k / 8) bytes, and bytes of eight channels.
  void (*expand_rows)(const uint8_t* x, size_t k, size_t rows, int8_t* tiles);
  void (*expand_pixels)(const TileNibbles& work);

  // y = alpha * sum + bias, rounded after the product and after the sum. A row of a tile of weights is a
  // row of four terms of sixteen channels in `linear`, and a channel's 64 terms in `conv`.
  void (*linear)(const TileWork& work);
  void (*conv)(const TileWork& work);
};

#if defined(__x86_64__)
extern const TileKernel kAmxTiles;
#endif

}  // namespace edgepack
