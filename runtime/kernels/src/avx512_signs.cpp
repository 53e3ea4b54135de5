// Signs of numbers as bits, with AVX-512: a comparison gives sixteen.
#include <immintrin.h>

#include "avx512.h"
#include "avx512_unroll.h"

namespace edgepack::avx512 {
namespace {

// Some vectors of pixels side by side: the lines of a channel that are read together are adjacent.
template <size_t kVectors>
inline void pack_vectors(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels,
                         uint32_t* bits) {
  const size_t beyond = kVectors * kPositions - pixels;  // of the last vector
  const __mmask16 last = static_cast<__mmask16>(0xffffu >> beyond);
  __m512i words[kVectors];
  EDGEPACK_UNROLL
  for (size_t i = 0; i < kVectors; ++i) words[i] = _mm512_setzero_si512();
  for (size_t c = 0; c < channels; ++c, x += plane) {
    const __m512 limit = _mm512_set1_ps(threshold != nullptr ? threshold[c] : 0.0f);
    const __m512i bit = _mm512_set1_epi32(static_cast<int>(1u << c));
    EDGEPACK_UNROLL
    for (size_t i = 0; i < kVectors; ++i) {
      const __m512 values = i + 1 < kVectors ? _mm512_loadu_ps(x + i * kPositions)
                                             : _mm512_maskz_loadu_ps(last, x + i * kPositions);
      words[i] = _mm512_mask_or_epi32(words[i], _mm512_cmp_ps_mask(values, limit, _CMP_LT_OQ), words[i], bit);
    }
  }
  EDGEPACK_UNROLL
  for (size_t i = 0; i < kVectors; ++i) {
    _mm512_mask_storeu_epi32(bits + i * kPositions, i + 1 < kVectors ? 0xffff : last, words[i]);
  }
}

}  // namespace

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

void pack_pixels(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels,
                 uint32_t* bits) {
  size_t first = 0;
  const auto next = [&](auto pack, size_t count) {
    pack(x + first, plane, channels, threshold, count, bits + first);
    first += count;
  };
  while (pixels - first > 3 * kPositions) next(pack_vectors<4>, pixels - first < 64 ? pixels - first : 64);
  const size_t left = pixels - first;
  if (left > 2 * kPositions) return next(pack_vectors<3>, left);
  if (left > kPositions) return next(pack_vectors<2>, left);
  if (left > 0) next(pack_vectors<1>, left);
}

}  // namespace edgepack::avx512
