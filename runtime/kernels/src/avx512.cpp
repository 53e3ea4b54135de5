// x86-64 with AVX-512 and VPOPCNTDQ: sixteen channels a vector, VPOPCNTD counts each one's word.
//
// Register tile: 8 rows by 2 panels, 16 sums. A step takes two vectors of weights and, for each row,
// one broadcast word, and executes 16 times XOR, VPOPCNTD and ADD: 48 operations on two ports for
// 8192 products, so 341 products a cycle are the limit of this kernel.
#include <immintrin.h>

#include "bit_kernel.h"
#include "cpu_features.h"
#include "tile_kernel.h"

namespace edgepack {
namespace {

constexpr size_t kLanes = 16;

void pack_row(const float* x, const float* threshold, size_t k, uint32_t* bits) {
  const size_t words = (k + kBitsPerWordPair - 1) / kBitsPerWordPair * 2;
  const __m512 zero = _mm512_setzero_ps();
  uint16_t* halves = reinterpret_cast<uint16_t*>(bits);
  size_t half = 0;
  for (; (half + 1) * kLanes <= k; ++half) {
    const __m512 limit = threshold != nullptr ? _mm512_loadu_ps(threshold + half * kLanes) : zero;
    halves[half] = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + half * kLanes), limit, _CMP_LT_OQ);
  }
  if (half * kLanes < k) {
    const __mmask16 left = static_cast<__mmask16>((1u << (k - half * kLanes)) - 1);
    const __m512 limit = threshold != nullptr ? _mm512_maskz_loadu_ps(left, threshold + half * kLanes) : zero;
    const __m512 values = _mm512_maskz_loadu_ps(left, x + half * kLanes);
    halves[half++] = _mm512_mask_cmp_ps_mask(left, values, limit, _CMP_LT_OQ);
  }
  for (; half < words * 2; ++half) halves[half] = 0;
}

struct Scaling {
  __m512i k;
  __m512 alpha;
  __m512 bias;
  __mmask16 stored;
};

Scaling scaling_of(const LinearWork& work, size_t panel) {
  const size_t first = panel * kLanes;
  const size_t left = work.columns > first ? work.columns - first : 0;
  const __mmask16 stored = left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
  return {_mm512_set1_epi32(work.k), _mm512_loadu_ps(work.alpha + first), _mm512_loadu_ps(work.bias + first),
          stored};
}

inline void store(float* y, __m512i differing, const Scaling& s) {
  const __m512i dot = _mm512_sub_epi32(s.k, _mm512_slli_epi32(differing, 1));
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), s.alpha);
  _mm512_mask_storeu_ps(y, s.stored, _mm512_add_ps(scaled, s.bias));
}

struct Interval {
  __m512i start;  // K - low
  __m512i width;
};

Interval interval_of(const LinearWork& work, size_t panel) {
  const __m512i low = _mm512_loadu_si512(work.low + panel * kLanes);
  return {_mm512_sub_epi32(_mm512_set1_epi32(work.k), low), _mm512_loadu_si512(work.width + panel * kLanes)};
}

inline uint32_t bits_of(__m512i differing, const Interval& interval) {
  const __m512i above = _mm512_sub_epi32(interval.start, _mm512_slli_epi32(differing, 1));
  return _mm512_cmplt_epu32_mask(above, interval.width);
}

// Two panels at a time where there are two: their bits are a word of the output, and a store each would cost as much as
// the arithmetic. Bytes of channels that do not exist are not written.
template <int kRows, int kPanels>
inline void store_bits(const LinearWork& work, size_t row, size_t panel, const __m512i (&sums)[kRows][kPanels]) {
  constexpr size_t kStep = kPanels == 1 ? 1 : 2;
  static_assert(kPanels % kStep == 0, "panels are taken in twos");
  for (size_t j = 0; j < kPanels; j += kStep) {
    const size_t first = (panel + j) * kLanes;
    const size_t left = work.columns > first ? work.columns - first : 0;
    const size_t bytes = left >= kStep * kLanes ? kStep * kLanes / 8 : (left + 7) / 8;
    const Interval low = interval_of(work, panel + j);
    const Interval high = interval_of(work, panel + j + kStep - 1);
    uint8_t* to = work.bits + row * work.bits_stride + first / 8;
    for (size_t i = 0; i < kRows; ++i, to += work.bits_stride) {
      uint32_t bits = bits_of(sums[i][j], low);
      if constexpr (kStep == 2) bits |= bits_of(sums[i][j + 1], high) << kLanes;
      if (bytes == sizeof bits) {
        __builtin_memcpy(to, &bits, sizeof bits);
      } else {
        for (size_t byte = 0; byte < bytes; ++byte) to[byte] = static_cast<uint8_t>(bits >> (8 * byte));
      }
    }
  }
}

template <int kRows, int kPanels, bool kBits>
inline void tile(const LinearWork& work, size_t row, size_t panel) {
  const size_t words = work.words;
  const uint32_t* a = work.activations + row * words;
  const uint32_t* w = work.weights + panel * words * kLanes;
  __m512i sums[kRows][kPanels];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kPanels; ++j) sums[i][j] = _mm512_setzero_si512();
  }
  for (size_t word = 0; word < words; ++word) {
    __m512i weights[kPanels];
    for (int j = 0; j < kPanels; ++j) {
      weights[j] = _mm512_loadu_si512(w + (j * words + word) * kLanes);
    }
    for (int i = 0; i < kRows; ++i) {
      const __m512i bits = _mm512_set1_epi32(static_cast<int>(a[i * words + word]));
      for (int j = 0; j < kPanels; ++j) {
        const __m512i differing = _mm512_popcnt_epi32(_mm512_xor_si512(bits, weights[j]));
        sums[i][j] = _mm512_add_epi32(sums[i][j], differing);
      }
    }
  }
  if constexpr (kBits) {
    store_bits(work, row, panel, sums);
    return;
  }
  for (int j = 0; j < kPanels; ++j) {
    const Scaling s = scaling_of(work, panel + j);
    for (int i = 0; i < kRows; ++i) {
      store(work.y + (row + i) * work.y_stride + (panel + j) * kLanes, sums[i][j], s);
    }
  }
}

template <int kPanels, bool kBits>
void all_rows(const LinearWork& work, size_t panel) {
  size_t row = 0;
  for (; row + 8 <= work.rows; row += 8) tile<8, kPanels, kBits>(work, row, panel);
  if (row + 4 <= work.rows) {
    tile<4, kPanels, kBits>(work, row, panel);
    row += 4;
  }
  for (; row < work.rows; ++row) tile<1, kPanels, kBits>(work, row, panel);
}

// One row has no tile to share weights with; eight panels side by side keep eight sums going.
template <bool kBits>
void one_row(const LinearWork& work) {
  size_t panel = 0;
  for (; panel + 8 <= work.panels; panel += 8) tile<1, 8, kBits>(work, 0, panel);
  for (; panel + 2 <= work.panels; panel += 2) tile<1, 2, kBits>(work, 0, panel);
  if (panel < work.panels) tile<1, 1, kBits>(work, 0, panel);
}

template <bool kBits>
void linear(const LinearWork& work) {
  if (work.rows == 1) return one_row<kBits>(work);
  size_t panel = 0;
  for (; panel + 2 <= work.panels; panel += 2) all_rows<2, kBits>(work, panel);
  if (panel < work.panels) all_rows<1, kBits>(work, panel);
}

void pack_pixels(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels,
                 uint32_t* bits) {
  for (size_t first = 0; first < pixels; first += kPositions) {
    const size_t left = pixels - first;
    const __mmask16 there = left >= kPositions ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    __m512i words = _mm512_setzero_si512();
    for (size_t c = 0; c < channels; ++c) {
      const __m512 limit = _mm512_set1_ps(threshold != nullptr ? threshold[c] : 0.0f);
      const __m512 values = _mm512_maskz_loadu_ps(there, x + c * plane + first);
      const __mmask16 less = _mm512_cmp_ps_mask(values, limit, _CMP_LT_OQ);
      words = _mm512_mask_or_epi32(words, less, words, _mm512_set1_epi32(static_cast<int>(1u << c)));
    }
    _mm512_mask_storeu_epi32(bits + first, there, words);
  }
}

// Sixteen positions are a vector here, and one word of weights, broadcast, meets all of them.
template <int kGroups, bool kBits>
inline void conv_tile(const ConvWork& work, size_t group) {
  const uint32_t* bits = work.bits + group * kPositions;
  __m512i sums[kConvChannels][kGroups];
  for (size_t c = 0; c < kConvChannels; ++c) {
    for (int j = 0; j < kGroups; ++j) sums[c][j] = _mm512_setzero_si512();
  }
  for (size_t tap = 0; tap < work.taps; ++tap) {
    const uint32_t* at = bits + work.offsets[tap];
    const uint32_t* w = work.weights + tap * kConvChannels;
    __m512i words[kGroups];
    for (int j = 0; j < kGroups; ++j) words[j] = _mm512_loadu_si512(at + j * kPositions);
    for (size_t c = 0; c < kConvChannels; ++c) {
      const __m512i weights = _mm512_set1_epi32(static_cast<int>(w[c]));
      for (int j = 0; j < kGroups; ++j) {
        const __m512i differing = _mm512_popcnt_epi32(_mm512_xor_si512(weights, words[j]));
        sums[c][j] = _mm512_add_epi32(sums[c][j], differing);
      }
    }
  }
  for (int j = 0; j < kGroups; ++j) {
    const size_t at = group + static_cast<size_t>(j);
    const __mmask16 stored = work.stored[at];
    const __mmask16 written = static_cast<__mmask16>((1u << __builtin_popcount(stored)) - 1);
    const __m512i classes = _mm512_loadu_si512(work.classes + at * kPositions);
    __m512i bytes = _mm512_setzero_si512();
    for (size_t c = 0; c < kConvChannels; ++c) {
      if (c >= work.channels) break;
      const int32_t* table = work.sums + c * work.class_stride;
      const __m512i full = work.class_stride == kPositions
                               ? _mm512_permutexvar_epi32(classes, _mm512_loadu_si512(table))
                               : _mm512_i32gather_epi32(classes, table, 4);
      const __m512i dot = _mm512_sub_epi32(full, _mm512_slli_epi32(sums[c][j], 1));
      if constexpr (kBits) {
        const __m512i above = _mm512_sub_epi32(dot, _mm512_set1_epi32(static_cast<int>(work.low[c])));
        const __mmask16 set = _mm512_cmplt_epu32_mask(above, _mm512_set1_epi32(static_cast<int>(work.width[c])));
        bytes = _mm512_mask_or_epi32(bytes, set, bytes, _mm512_set1_epi32(static_cast<int>(1u << c)));
        continue;
      }
      const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(work.alpha[c]));
      const __m512 y = _mm512_add_ps(scaled, _mm512_set1_ps(work.bias[c]));
      float* to = work.y + c * work.plane + work.starts[at];
      _mm512_mask_storeu_ps(to, written, _mm512_maskz_compress_ps(stored, y));
    }
    if constexpr (kBits) {
      const __m512i together = _mm512_maskz_compress_epi32(stored, bytes);
      _mm512_mask_cvtepi32_storeu_epi8(work.packed + work.starts[at], written, together);
    }
  }
}

template <bool kBits>
void conv(const ConvWork& work) {
  size_t group = work.first;
  for (; group + 2 <= work.last; group += 2) conv_tile<2, kBits>(work, group);
  if (group < work.last) conv_tile<1, kBits>(work, group);
}

}  // namespace

const BitKernel kAvx512 = {"avx512", [](const CpuFeatures& cpu) { return cpu.avx512_vpopcntdq; }, kLanes,
                           pack_row, linear<false>, pack_pixels, conv<false>, linear<true>, conv<true>, nullptr};

// Counts where the tiles are not worth their while, or where what they need is not given.
const BitKernel kAmx = {"amx", [](const CpuFeatures& cpu) { return cpu.amx_int8 && cpu.avx512_vpopcntdq; }, kLanes,
                        pack_row, linear<false>, pack_pixels, conv<false>, linear<true>, conv<true>, &kAmxTiles};

}  // namespace edgepack
