// What one instruction set has to provide, and the layout of bits that all of them share.
//
// A bit 1 stands for -1 and a bit 0 for +1, so that with P the number of differing bits
//
//     sum_k a_k w_k = K - 2 P,    P = popcount(a XOR w)
//
// Where bits come out, an interval decides, per channel, on a circle of 2^32 numbers: the bit is 1 where
//
//     (sum - low) mod 2^32 < width
//
// which is any sum below a limit, any from a limit on, all, none, or those within or outside of two limits.
//
// Rows of activations are `words` 32-bit words, least significant bit first, bits from K on zero.
// Weights stand in panels of `lanes` output channels: word 0 of each channel of the panel, then word
// 1 of each, ... so that one vector holds the same word of `lanes` channels and one word of an
// activation, broadcast, meets all of them. Bits from K on are zero there too, and count nothing.
//
// The files that implement this are compiled for instructions that the processor may lack: they use
// nothing from the standard library, whose inline functions the linker might share with other files.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace edgepack {

struct CpuFeatures;
struct TileKernel;

// Words are paired, so that 64-bit instructions read whole rows.
inline constexpr size_t kBitsPerWordPair = 64;

// The product of `rows` rows with the channels of `panels` panels.
struct LinearWork {
  const uint32_t* activations;  // [rows, words]
  const uint32_t* weights;      // [panels, words, lanes]
  const float* alpha;           // [panels * lanes]
  const float* bias;            // [panels * lanes]
  float* y;                     // [rows, columns] of the first panel's first channel
  size_t rows;
  size_t panels;
  size_t columns;   // channels that exist: at most panels * lanes
  size_t words;     // 32-bit words in a row, even
  size_t y_stride;  // floats between rows of y
  int32_t k;        // K: activations in a row
  // Of `linear_bits` in the place of alpha, bias and y:
  const uint32_t* low;    // [panels * lanes]
  const uint32_t* width;  // [panels * lanes], 0 for channels that do not exist
  uint8_t* bits;          // [rows, ceil(columns / 8)] of the first panel's first channel, a multiple of 8
  size_t bits_stride;     // bytes between rows of bits
};

// Positions of a convolution's output are computed sixteen at a time, and channels eight at a time.
inline constexpr size_t kPositions = 16;
inline constexpr size_t kConvChannels = 8;

// Output channels of one group, in panels of eight, at groups of sixteen positions of one sample. A position is a
// place in a plane of bits; the word of input that tap t meets there is bits[position + offsets[t]].
// Some positions are no pixel of the output (where a row of the plane is longer than a row of the
// output): `stored` says which are, and those that are stand in the output one after the other.
//
// Of a kernel that takes pixels the positions are the output's pixels, `row` of them a row: pixel p stands in the plane
// at p + p / row * gap, and only behind the last pixel are there positions that are none.
struct ConvWork {
  const uint32_t* bits;
  const uint32_t* weights;  // [panels, taps, 8]
  size_t panels;            // at most the kernel's conv_panels
  const size_t* offsets;    // [taps]
  size_t taps;              // words of input that one position meets
  size_t first;             // group of sixteen positions
  size_t last;              // behind the last group
  const int32_t* classes;   // [groups * 16]: which border of the image the position is at
  const uint16_t* stored;   // [groups]: a bit for each position that is a pixel of the output
  const size_t* starts;     // [groups]: the pixel that the first stored position is
  size_t row;               // pixels of a row of the output
  size_t gap;               // words of a row of the plane that are none of them
  const int32_t* sums;      // [panels * 8, class_stride]: what the sum is if no bit differs, for each class
  size_t class_stride;      // at least 16
  const float* alpha;       // [panels * 8]
  const float* bias;        // [panels * 8]
  float* y;                 // [channels, plane]
  size_t plane;             // pixels of an output channel
  size_t channels;          // that exist: at least one of the last panel
  // Of `conv_bits` in the place of alpha, bias and y:
  const uint32_t* low;    // [panels * 8]
  const uint32_t* width;  // [panels * 8]
  uint8_t* packed;        // [panels, plane]: a byte a pixel, a panel's channel c in bit c
};

struct BitKernel {
  const char* name;
  bool (*supported)(const CpuFeatures&);
  size_t lanes;  // channels in a panel

  // Bits of one row: bit k is 1 where x[k] < threshold[k] (0 where `threshold` is null). -0.0 and NaN
  // are less than nothing, so both count as +1. Writes ceil(k / 64) * 2 words.
  void (*pack_row)(const float* x, const float* threshold, size_t k, uint32_t* bits);

  // y = alpha * (K - 2 P) + bias, rounded after the product and after the sum.
  void (*linear)(const LinearWork& work);

  // Bits of `pixels` adjacent pixels, one word each: bit c is 1 where x[c * plane + pixel] is less than
  // threshold[c] (0 where `threshold` is null), for c below `channels`, at most 32.
  void (*pack_pixels)(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels,
                      uint32_t* bits);

  // y = alpha * (sums[class] - 2 P) + bias, rounded after the product and after the sum.
  void (*conv)(const ConvWork& work);

  // The same sums as bits; null where there are only the two above.
  void (*linear_bits)(const LinearWork& work);
  void (*conv_bits)(const ConvWork& work);

  // For large products; null where there is nothing faster than counting.
  const TileKernel* tiles;

  // Whether `linear` takes rows of activations, and both take weights, as running XORs: in the place of each word (of
  // each tap, in a convolution) stands the XOR of all words of the row up to it.
  bool running = false;

  // Whether a convolution's positions are pixels.
  bool pixels = false;

  // Panels of a convolution that are best computed in one call, and the most that it takes.
  size_t conv_panels = 1;
};

extern const BitKernel kPortable;
#if defined(__x86_64__)
extern const BitKernel kPopcnt;
extern const BitKernel kAvx2;
extern const BitKernel kAvx512;
extern const BitKernel kAmx;
#elif defined(__aarch64__)
extern const BitKernel kNeon;
extern const BitKernel kNeonDot;
#endif

}  // namespace edgepack
