// x86-64 with AVX2: a byte's bits are counted by looking up its two halves with VPSHUFB (Mula, Kurz and
// Lemire, "Faster population counts using AVX2 instructions", The Computer Journal 61(1), 2018).
//
// A panel is sixteen channels, two vectors. Counts stay in bytes for up to 31 words, which hold at
// most 31 * 8 = 248, and are then added up to one 32-bit number a channel.
#include <immintrin.h>

#include "bit_kernel.h"
#include "cpu_features.h"

namespace edgepack {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kVectors = 2;        // of a panel
constexpr size_t kWordsInBytes = 31;  // before a byte of counts could overflow

void pack_row(const float* x, const float* threshold, size_t k, uint32_t* bits) {
  const size_t words = (k + kBitsPerWordPair - 1) / kBitsPerWordPair * 2;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(bits);
  size_t byte = 0;
  for (; (byte + 1) * 8 <= k; ++byte) {
    const __m256 limit = threshold != nullptr ? _mm256_loadu_ps(threshold + byte * 8) : _mm256_setzero_ps();
    const __m256 less = _mm256_cmp_ps(_mm256_loadu_ps(x + byte * 8), limit, _CMP_LT_OQ);
    bytes[byte] = static_cast<uint8_t>(_mm256_movemask_ps(less));
  }
  if (byte * 8 < k) {
    unsigned value = 0;
    for (size_t i = byte * 8; i < k; ++i) {
      const float limit = threshold != nullptr ? threshold[i] : 0.0f;
      value |= static_cast<unsigned>(x[i] < limit) << (i - byte * 8);
    }
    bytes[byte++] = static_cast<uint8_t>(value);
  }
  for (; byte < words * 4; ++byte) bytes[byte] = 0;
}

// Bits set in each byte.
inline __m256i count(__m256i bits) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(0x0f);
  const __m256i lower = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, low));
  const __m256i upper = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bits, 4), low));
  return _mm256_add_epi8(lower, upper);
}

// The four bytes of each 32-bit lane, added.
inline __m256i widened(__m256i bytes) {
  const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

inline void store(const LinearWork& work, size_t channel, float* y, __m256i differing) {
  const __m256i dot = _mm256_sub_epi32(_mm256_set1_epi32(work.k), _mm256_slli_epi32(differing, 1));
  const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_loadu_ps(work.alpha + channel));
  const __m256 sum = _mm256_add_ps(scaled, _mm256_loadu_ps(work.bias + channel));
  if (channel + 8 <= work.columns) {
    _mm256_storeu_ps(y + channel, sum);
    return;
  }
  float all[8];
  _mm256_storeu_ps(all, sum);
  for (size_t i = 0; channel + i < work.columns; ++i) y[channel + i] = all[i];
}

template <int kRows>
void tile(const LinearWork& work, size_t row, size_t panel) {
  const size_t words = work.words;
  const uint32_t* a = work.activations + row * words;
  const uint32_t* w = work.weights + panel * words * kLanes;
  __m256i sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kVectors; ++j) sums[i][j] = _mm256_setzero_si256();
  }
  for (size_t first = 0; first < words; first += kWordsInBytes) {
    const size_t last = first + kWordsInBytes < words ? first + kWordsInBytes : words;
    __m256i bytes[kRows][kVectors];
    for (int i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < kVectors; ++j) bytes[i][j] = _mm256_setzero_si256();
    }
    for (size_t word = first; word < last; ++word) {
      const __m256i* weights = reinterpret_cast<const __m256i*>(w + word * kLanes);
      for (int i = 0; i < kRows; ++i) {
        const __m256i bits = _mm256_set1_epi32(static_cast<int>(a[i * words + word]));
        for (size_t j = 0; j < kVectors; ++j) {
          const __m256i differing = _mm256_xor_si256(bits, _mm256_loadu_si256(weights + j));
          bytes[i][j] = _mm256_add_epi8(bytes[i][j], count(differing));
        }
      }
    }
    for (int i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < kVectors; ++j) {
        sums[i][j] = _mm256_add_epi32(sums[i][j], widened(bytes[i][j]));
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    float* y = work.y + (row + i) * work.y_stride;
    for (size_t j = 0; j < kVectors; ++j) {
      const size_t channel = panel * kLanes + j * 8;
      if (channel < work.columns) store(work, channel, y, sums[i][j]);
    }
  }
}

void linear(const LinearWork& work) {
  for (size_t panel = 0; panel < work.panels; ++panel) {
    size_t row = 0;
    for (; row + 4 <= work.rows; row += 4) tile<4>(work, row, panel);
    for (; row < work.rows; ++row) tile<1>(work, row, panel);
  }
}

void pack_pixels(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels,
                 uint32_t* bits) {
  size_t first = 0;
  for (; first + 8 <= pixels; first += 8) {
    __m256i words = _mm256_setzero_si256();
    for (size_t c = 0; c < channels; ++c) {
      const __m256 limit = _mm256_set1_ps(threshold != nullptr ? threshold[c] : 0.0f);
      const __m256 less = _mm256_cmp_ps(_mm256_loadu_ps(x + c * plane + first), limit, _CMP_LT_OQ);
      const __m256i bit = _mm256_set1_epi32(static_cast<int>(1u << c));
      words = _mm256_or_si256(words, _mm256_and_si256(_mm256_castps_si256(less), bit));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bits + first), words);
  }
  for (; first < pixels; ++first) {
    uint32_t word = 0;
    for (size_t c = 0; c < channels; ++c) {
      const float limit = threshold != nullptr ? threshold[c] : 0.0f;
      word |= static_cast<uint32_t>(x[c * plane + first] < limit) << c;
    }
    bits[first] = word;
  }
}

// Counts of `kTile` channels from the one at `channel` on, for the sixteen positions of a group.
template <size_t kTile>
void count_channels(const ConvWork& work, size_t group, size_t channel, int32_t (*counts)[kPositions]) {
  const uint32_t* bits = work.bits + group * kPositions;
  __m256i sums[kTile][kVectors];
  for (size_t c = 0; c < kTile; ++c) {
    for (size_t j = 0; j < kVectors; ++j) sums[c][j] = _mm256_setzero_si256();
  }
  for (size_t first = 0; first < work.taps; first += kWordsInBytes) {
    const size_t last = first + kWordsInBytes < work.taps ? first + kWordsInBytes : work.taps;
    __m256i bytes[kTile][kVectors];
    for (size_t c = 0; c < kTile; ++c) {
      for (size_t j = 0; j < kVectors; ++j) bytes[c][j] = _mm256_setzero_si256();
    }
    for (size_t tap = first; tap < last; ++tap) {
      const __m256i* at = reinterpret_cast<const __m256i*>(bits + work.offsets[tap]);
      const uint32_t* w = work.weights + tap * kConvChannels + channel;
      for (size_t c = 0; c < kTile; ++c) {
        const __m256i weights = _mm256_set1_epi32(static_cast<int>(w[c]));
        for (size_t j = 0; j < kVectors; ++j) {
          const __m256i differing = _mm256_xor_si256(weights, _mm256_loadu_si256(at + j));
          bytes[c][j] = _mm256_add_epi8(bytes[c][j], count(differing));
        }
      }
    }
    for (size_t c = 0; c < kTile; ++c) {
      for (size_t j = 0; j < kVectors; ++j) sums[c][j] = _mm256_add_epi32(sums[c][j], widened(bytes[c][j]));
    }
  }
  for (size_t c = 0; c < kTile; ++c) {
    for (size_t j = 0; j < kVectors; ++j) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(counts[c] + j * 8), sums[c][j]);
    }
  }
}

void conv(const ConvWork& work) {
  constexpr size_t kTile = 4;
  for (size_t group = work.first; group < work.last; ++group) {
    for (size_t channel = 0; channel < work.channels; channel += kTile) {
      int32_t counts[kTile][kPositions];
      count_channels<kTile>(work, group, channel, counts);
      for (size_t c = 0; c < kTile && channel + c < work.channels; ++c) {
        const int32_t* table = work.sums + (channel + c) * work.class_stride;
        float* y = work.y + (channel + c) * work.plane + work.starts[group];
        for (size_t i = 0; i < kPositions; ++i) {
          if (((work.stored[group] >> i) & 1) == 0) continue;
          const int32_t dot = table[work.classes[group * kPositions + i]] - 2 * counts[c][i];
          const float scaled = work.alpha[channel + c] * static_cast<float>(dot);
          *y++ = scaled + work.bias[channel + c];
        }
      }
    }
  }
}

}  // namespace

const BitKernel kAvx2 = {"avx2", [](const CpuFeatures& cpu) { return cpu.avx2; }, kLanes,
                         pack_row, linear, pack_pixels, conv, nullptr};

}  // namespace edgepack
