// Linear layers with AVX-512 and VPOPCNTDQ: sixteen channels a vector, one word of a row, broadcast, meets all of them.
//
// Register tile: 8 rows by one panel, or one row by 8 panels.
#include "avx512.h"
#include "avx512_count.h"
#include "avx512_unroll.h"

namespace edgepack::avx512 {
namespace {

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

// Bytes of channels that do not exist are not written.
template <size_t kRows, size_t kPanels>
inline void store_bits(const LinearWork& work, size_t row, size_t panel, const Count (&counts)[kRows][kPanels]) {
  EDGEPACK_UNROLL
  for (size_t j = 0; j < kPanels; ++j) {
    const size_t first = (panel + j) * kLanes;
    const bool both = work.columns > first + 8;
    const Interval interval = interval_of(work, panel + j);
    uint8_t* to = work.bits + row * work.bits_stride + first / 8;
    EDGEPACK_UNROLL
    for (size_t i = 0; i < kRows; ++i, to += work.bits_stride) {
      const uint32_t bits = bits_of(differing(counts[i][j]), interval);
      to[0] = static_cast<uint8_t>(bits);
      if (both) to[1] = static_cast<uint8_t>(bits >> 8);
    }
  }
}

template <size_t kRows, size_t kPanels, bool kBits>
inline void tile(const LinearWork& work, size_t row, size_t panel) {
  const size_t words = work.words;
  const uint32_t* a = work.activations + row * words;
  const uint32_t* w = work.weights + panel * words * kLanes;
  Count counts[kRows][kPanels];
  EDGEPACK_UNROLL_TWICE
  for (size_t word = 0; word < words; word += 2) {
    EDGEPACK_UNROLL
    for (size_t j = 0; j < kPanels; ++j) {
      const uint32_t* at = w + (j * words + word) * kLanes;
      const __m512i w1 = _mm512_loadu_si512(at);
      const __m512i w2 = _mm512_loadu_si512(at + kLanes);
      EDGEPACK_UNROLL
      for (size_t i = 0; i < kRows; ++i) {
        const __m512i a1 = _mm512_set1_epi32(static_cast<int>(a[i * words + word]));
        const __m512i a2 = _mm512_set1_epi32(static_cast<int>(a[i * words + word + 1]));
        add_two(counts[i][j], _mm512_xor_si512(a1, w1), _mm512_xor_si512(a2, w2));
      }
    }
  }
  if constexpr (kBits) {
    store_bits(work, row, panel, counts);
    return;
  }
  EDGEPACK_UNROLL
  for (size_t j = 0; j < kPanels; ++j) {
    const Scaling s = scaling_of(work, panel + j);
    float* y = work.y + row * work.y_stride + (panel + j) * kLanes;
    EDGEPACK_UNROLL
    for (size_t i = 0; i < kRows; ++i) store(y + i * work.y_stride, differing(counts[i][j]), s);
  }
}

template <bool kBits>
void all_rows(const LinearWork& work, size_t panel) {
  size_t row = 0;
  for (; row + 8 <= work.rows; row += 8) tile<8, 1, kBits>(work, row, panel);
  if (row + 4 <= work.rows) {
    tile<4, 1, kBits>(work, row, panel);
    row += 4;
  }
  for (; row < work.rows; ++row) tile<1, 1, kBits>(work, row, panel);
}

// One row has no tile to share weights with; eight panels side by side keep eight sums going.
template <bool kBits>
void one_row(const LinearWork& work) {
  size_t panel = 0;
  for (; panel + 8 <= work.panels; panel += 8) tile<1, 8, kBits>(work, 0, panel);
  for (; panel < work.panels; ++panel) tile<1, 1, kBits>(work, 0, panel);
}

template <bool kBits>
void multiply(const LinearWork& work) {
  if (work.rows == 1) return one_row<kBits>(work);
  for (size_t panel = 0; panel < work.panels; ++panel) all_rows<kBits>(work, panel);
}

}  // namespace

void linear(const LinearWork& work) { multiply<false>(work); }
void linear_bits(const LinearWork& work) { multiply<true>(work); }

}  // namespace edgepack::avx512
