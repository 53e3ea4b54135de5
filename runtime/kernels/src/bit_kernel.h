// What one instruction set has to provide, and the layout of bits that all of them share.
//
// A bit 1 stands for -1 and a bit 0 for +1, so that with P the number of differing bits
//
//     sum_k a_k w_k = K - 2 P,    P = popcount(a XOR w)
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
};

extern const BitKernel kPortable;
#if defined(__x86_64__)
extern const BitKernel kPopcnt;
extern const BitKernel kAvx2;
extern const BitKernel kAvx512;
#elif defined(__aarch64__)
extern const BitKernel kNeon;
#endif

}  // namespace edgepack
