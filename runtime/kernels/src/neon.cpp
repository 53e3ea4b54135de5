// aarch64 with NEON: VCNT counts the bits of each byte, and pairwise additions widen the counts.
//
// A panel is sixteen channels, four vectors. Counts stay in bytes for up to 31 words, which hold at most
// 31 * 8 = 248, and are then added up to one 32-bit number a channel.
#include <arm_neon.h>

#include "bit_kernel.h"
#include "cpu_features.h"

namespace edgepack {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kVectors = 4;        // of a panel, or of a group of positions
constexpr size_t kWordsInBytes = 31;  // before a byte of counts could overflow

inline uint32_t tail_bits(const float* x, const float* threshold, size_t first, size_t last) {
  uint32_t value = 0;
  for (size_t i = first; i < last; ++i) {
    const float limit = threshold != nullptr ? threshold[i] : 0.0f;
    value |= static_cast<uint32_t>(x[i] < limit) << (i - first);
  }
  return value;
}

// A word at a time: each comparison keeps the bit of its place, and the lanes are added.
void pack_row(const float* x, const float* threshold, size_t k, uint32_t* bits) {
  const size_t words = (k + kBitsPerWordPair - 1) / kBitsPerWordPair * 2;
  const uint32_t first_places[4] = {1, 2, 4, 8};
  const uint32x4_t places = vld1q_u32(first_places);
  size_t word = 0;
  for (; (word + 1) * 32 <= k; ++word) {
    uint32x4_t sum = vdupq_n_u32(0);
    for (size_t i = 0; i < 8; ++i) {
      const size_t at = word * 32 + i * 4;
      const float32x4_t limit = threshold != nullptr ? vld1q_f32(threshold + at) : vdupq_n_f32(0.0f);
      const uint32x4_t less = vcltq_f32(vld1q_f32(x + at), limit);
      sum = vorrq_u32(sum, vshlq_u32(vandq_u32(less, places), vdupq_n_s32(static_cast<int32_t>(i * 4))));
    }
    bits[word] = vaddvq_u32(sum);
  }
  for (; word < words; ++word) bits[word] = word * 32 < k ? tail_bits(x, threshold, word * 32, k) : 0;
}

inline uint8x16_t counted(uint32x4_t a, uint32x4_t b) {
  return vcntq_u8(vreinterpretq_u8_u32(veorq_u32(a, b)));
}

inline uint32x4_t widened(uint8x16_t bytes) { return vpaddlq_u16(vpaddlq_u8(bytes)); }

inline void store(const LinearWork& work, size_t channel, float* y, uint32x4_t differing) {
  const int32x4_t twice = vreinterpretq_s32_u32(vshlq_n_u32(differing, 1));
  const float32x4_t dot = vcvtq_f32_s32(vsubq_s32(vdupq_n_s32(work.k), twice));
  const float32x4_t scaled = vmulq_f32(dot, vld1q_f32(work.alpha + channel));
  const float32x4_t sum = vaddq_f32(scaled, vld1q_f32(work.bias + channel));
  if (channel + 4 <= work.columns) {
    vst1q_f32(y + channel, sum);
    return;
  }
  float all[4];
  vst1q_f32(all, sum);
  for (size_t i = 0; channel + i < work.columns; ++i) y[channel + i] = all[i];
}

template <size_t kRows>
void tile(const LinearWork& work, size_t row, size_t panel) {
  const size_t words = work.words;
  const uint32_t* a = work.activations + row * words;
  const uint32_t* w = work.weights + panel * words * kLanes;
  uint32x4_t sums[kRows][kVectors];
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kVectors; ++j) sums[i][j] = vdupq_n_u32(0);
  }
  for (size_t first = 0; first < words; first += kWordsInBytes) {
    const size_t last = first + kWordsInBytes < words ? first + kWordsInBytes : words;
    uint8x16_t bytes[kRows][kVectors];
    for (size_t i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < kVectors; ++j) bytes[i][j] = vdupq_n_u8(0);
    }
    for (size_t word = first; word < last; ++word) {
      uint32x4_t weights[kVectors];
      for (size_t j = 0; j < kVectors; ++j) weights[j] = vld1q_u32(w + word * kLanes + j * 4);
      for (size_t i = 0; i < kRows; ++i) {
        const uint32x4_t bits = vdupq_n_u32(a[i * words + word]);
        for (size_t j = 0; j < kVectors; ++j) bytes[i][j] = vaddq_u8(bytes[i][j], counted(bits, weights[j]));
      }
    }
    for (size_t i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < kVectors; ++j) sums[i][j] = vaddq_u32(sums[i][j], widened(bytes[i][j]));
    }
  }
  for (size_t i = 0; i < kRows; ++i) {
    float* y = work.y + (row + i) * work.y_stride;
    for (size_t j = 0; j < kVectors; ++j) {
      const size_t channel = panel * kLanes + j * 4;
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
  for (; first + 4 <= pixels; first += 4) {
    uint32x4_t words = vdupq_n_u32(0);
    for (size_t c = 0; c < channels; ++c) {
      const float32x4_t limit = vdupq_n_f32(threshold != nullptr ? threshold[c] : 0.0f);
      const uint32x4_t less = vcltq_f32(vld1q_f32(x + c * plane + first), limit);
      words = vorrq_u32(words, vandq_u32(less, vdupq_n_u32(1u << c)));
    }
    vst1q_u32(bits + first, words);
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

// Counts of four channels from the one at `channel` on, for the sixteen positions of a group.
constexpr size_t kTile = 4;

void count_channels(const ConvWork& work, size_t group, size_t channel, int32_t (*counts)[kPositions]) {
  const uint32_t* bits = work.bits + group * kPositions;
  uint32x4_t sums[kTile][kVectors];
  for (size_t c = 0; c < kTile; ++c) {
    for (size_t j = 0; j < kVectors; ++j) sums[c][j] = vdupq_n_u32(0);
  }
  for (size_t first = 0; first < work.taps; first += kWordsInBytes) {
    const size_t last = first + kWordsInBytes < work.taps ? first + kWordsInBytes : work.taps;
    uint8x16_t bytes[kTile][kVectors];
    for (size_t c = 0; c < kTile; ++c) {
      for (size_t j = 0; j < kVectors; ++j) bytes[c][j] = vdupq_n_u8(0);
    }
    for (size_t tap = first; tap < last; ++tap) {
      const uint32_t* at = bits + work.offsets[tap];
      const uint32_t* w = work.weights + tap * kConvChannels + channel;
      uint32x4_t words[kVectors];
      for (size_t j = 0; j < kVectors; ++j) words[j] = vld1q_u32(at + j * 4);
      for (size_t c = 0; c < kTile; ++c) {
        const uint32x4_t weights = vdupq_n_u32(w[c]);
        for (size_t j = 0; j < kVectors; ++j) bytes[c][j] = vaddq_u8(bytes[c][j], counted(weights, words[j]));
      }
    }
    for (size_t c = 0; c < kTile; ++c) {
      for (size_t j = 0; j < kVectors; ++j) sums[c][j] = vaddq_u32(sums[c][j], widened(bytes[c][j]));
    }
  }
  for (size_t c = 0; c < kTile; ++c) {
    for (size_t j = 0; j < kVectors; ++j) vst1q_s32(counts[c] + j * 4, vreinterpretq_s32_u32(sums[c][j]));
  }
}

void conv(const ConvWork& work) {
  for (size_t group = work.first; group < work.last; ++group) {
    for (size_t channel = 0; channel < work.channels; channel += kTile) {
      int32_t counts[kTile][kPositions];
      count_channels(work, group, channel, counts);
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

const BitKernel kNeon = {"neon", [](const CpuFeatures& cpu) { return cpu.neon; }, kLanes, pack_row, linear,
                         pack_pixels, conv};

}  // namespace edgepack
