// x86-64 with AMX-INT8: TDPBSSD adds the products of sixteen rows, sixteen columns and 64 terms of signed
// bytes in sixteen cycles, 1024 products a cycle.
//
// Of the eight tiles four hold sums of 32 rows by 32 columns, two hold activations and two weights: a step
// loads four tiles for four products. Weights are expanded from bits while the first two groups are
// multiplied, a few steps ahead, by vector instructions that the products leave idle; the groups after
// them find the bytes in the first cache.
//
// Instructions are written out: the compiler's own functions for them do not say that they read memory.
#include <immintrin.h>

#include "tile_kernel.h"

namespace edgepack {
namespace {

constexpr size_t kSteps = 16;  // expanded at a time: 32 KiB
constexpr size_t kGroups = 16; // whose sums are kept from one part of the steps to the next: 32 KiB
constexpr size_t kAhead = 6;   // steps from the expansion of a tile to its first use: its stores are over by then
constexpr size_t kStepBytes = 2 * kTileBytes;

struct alignas(64) Configuration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void begin() {
  static const Configuration all;
  __asm__ volatile("ldtilecfg %0" : : "m"(all));
}

void end() { __asm__ volatile("tilerelease"); }

template <int kTile>
inline void load(const void* from, size_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}

template <int kTile>
inline void store(void* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(size_t{64}), "i"(kTile) : "memory");
}

template <int kTile>
inline void clear() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

template <int kSum, int kRows, int kColumns>
inline void multiply() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kRows), "i"(kColumns));
}

// Sums of group a and half b stand in tile 2 a + b, activations of group a in 4 + a, weights in 6 + b.
// What is the left factor has the rows of the sums.
template <bool kConv, int kGroup, int kHalf>
inline void multiply_tiles() {
  if constexpr (kConv) {
    multiply<2 * kGroup + kHalf, 6 + kHalf, 4 + kGroup>();
  } else {
    multiply<2 * kGroup + kHalf, 4 + kGroup, 6 + kHalf>();
  }
}

struct alignas(64) Sums {
  int32_t of[2][2][kTileSide][kTileSide];  // [group, half]
};

template <int kPair>
inline void load_sums(const Sums& sums) {
  load<0>(sums.of[0][0], 64);
  load<1>(sums.of[0][1], 64);
  if constexpr (kPair == 2) {
    load<2>(sums.of[1][0], 64);
    load<3>(sums.of[1][1], 64);
  }
}

template <int kPair>
inline void clear_sums() {
  clear<0>();
  clear<1>();
  if constexpr (kPair == 2) {
    clear<2>();
    clear<3>();
  }
}

template <int kPair>
inline void store_sums(Sums& sums) {
  store<0>(sums.of[0][0]);
  store<1>(sums.of[0][1]);
  if constexpr (kPair == 2) {
    store<2>(sums.of[1][0]);
    store<3>(sums.of[1][1]);
  }
}

// Both halves of a step: a row of 64 bytes for every 64 bits.
inline void expand(const uint64_t* bits, int8_t* tiles) {
  const __m512i plus = _mm512_set1_epi8(1);
  const __m512i minus = _mm512_set1_epi8(-1);
  for (size_t i = 0; i < 2 * kTileSide; ++i) {
    _mm512_store_si512(tiles + i * kTileTerms, _mm512_mask_blend_epi8(_cvtu64_mask64(bits[i]), plus, minus));
  }
}

// Steps from `first` to before `last` of one group or two; `tiles` holds their weights, or will.
template <bool kConv, int kPair, bool kExpand>
inline void add_products(const TileWork& work, size_t group, size_t first, size_t last, int8_t* tiles) {
  const int8_t* activations = work.activations + group * work.group_bytes;
  const uint64_t* bits = work.weights + first * 2 * kTileSide;
  const size_t count = last - first;
  if constexpr (kExpand) {
    for (size_t i = 0; i < kAhead && i < count; ++i) expand(bits + i * 2 * kTileSide, tiles + i * kStepBytes);
  }
  for (size_t i = 0; i < count; ++i) {
    const int8_t* at = activations + work.offsets[first + i];
    load<6>(tiles + i * kStepBytes, kTileTerms);
    load<4>(at, work.stride);
    multiply_tiles<kConv, 0, 0>();
    load<7>(tiles + i * kStepBytes + kTileBytes, kTileTerms);
    multiply_tiles<kConv, 0, 1>();
    if constexpr (kPair == 2) {
      load<5>(at + work.group_bytes, work.stride);
      multiply_tiles<kConv, 1, 0>();
      multiply_tiles<kConv, 1, 1>();
    }
    if constexpr (kExpand) {
      const size_t next = i + kAhead;
      if (next < count) expand(bits + next * 2 * kTileSide, tiles + next * kStepBytes);
    }
  }
}

inline __m512 scaled(const int32_t* sums, __m512 alpha, __m512 bias) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), alpha), bias);
}

inline __mmask16 first_lanes(size_t count) {
  return count >= kTileSide ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// A row of sums is a row of the output.
void store_rows(const TileWork& work, size_t group, size_t pair, const Sums& sums) {
  const size_t row = group * kTileSide;
  const size_t rows = work.rows - row < pair * kTileSide ? work.rows - row : pair * kTileSide;
  float* y = work.y + row * work.y_stride;
  for (size_t half = 0; half < 2 && half * kTileSide < work.channels; ++half) {
    const size_t channel = half * kTileSide;
    const __mmask16 stored = first_lanes(work.channels - channel);
    const __m512 alpha = _mm512_loadu_ps(work.alpha + channel);
    const __m512 bias = _mm512_loadu_ps(work.bias + channel);
    for (size_t i = 0; i < rows; ++i) {
      const __m512 values = scaled(sums.of[i / kTileSide][half][i % kTileSide], alpha, bias);
      _mm512_mask_storeu_ps(y + i * work.y_stride + channel, stored, values);
    }
  }
}

// A row of sums is a channel at sixteen positions.
void store_positions(const TileWork& work, size_t group, size_t pair, const Sums& sums) {
  for (size_t i = 0; i < pair; ++i) {
    const __mmask16 stored = work.stored[group + i];
    const __mmask16 written = first_lanes(static_cast<size_t>(__builtin_popcount(stored)));
    float* y = work.y + work.starts[group + i];
    for (size_t c = 0; c < work.channels; ++c, y += work.y_stride) {
      const int32_t* row = sums.of[i][c / kTileSide][c % kTileSide];
      const __m512 values = scaled(row, _mm512_set1_ps(work.alpha[c]), _mm512_set1_ps(work.bias[c]));
      if (stored == 0xffff) {
        _mm512_storeu_ps(y, values);
      } else {
        _mm512_mask_storeu_ps(y, written, _mm512_maskz_compress_ps(stored, values));
      }
    }
  }
}

struct Part {
  size_t first;  // step
  size_t last;
  bool begins;
  bool ends;
};

template <bool kConv, int kPair>
void one_pair(const TileWork& work, size_t group, const Part& part, bool expands, int8_t* tiles, Sums& sums) {
  part.begins ? clear_sums<kPair>() : load_sums<kPair>(sums);
  if (expands) {
    add_products<kConv, kPair, true>(work, group, part.first, part.last, tiles);
  } else {
    add_products<kConv, kPair, false>(work, group, part.first, part.last, tiles);
  }
  store_sums<kPair>(sums);
  if (!part.ends) return;
  if constexpr (kConv) {
    store_positions(work, group, kPair, sums);
  } else {
    store_rows(work, group, kPair, sums);
  }
}

template <bool kConv>
void all(const TileWork& work) {
  alignas(64) int8_t tiles[kSteps * kStepBytes];
  Sums sums[kGroups / 2];
  for (size_t begin = 0; begin < work.groups; begin += kGroups) {
    const size_t end = begin + kGroups < work.groups ? begin + kGroups : work.groups;
    for (size_t first = 0; first < work.steps; first += kSteps) {
      const size_t last = first + kSteps < work.steps ? first + kSteps : work.steps;
      const Part part = {first, last, first == 0, last == work.steps};
      for (size_t group = begin; group < end; group += 2) {
        Sums& kept = sums[(group - begin) / 2];
        if (group + 1 < end) {
          one_pair<kConv, 2>(work, group, part, group == begin, tiles, kept);
        } else {
          one_pair<kConv, 1>(work, group, part, group == begin, tiles, kept);
        }
      }
    }
  }
}

void sign_rows(const float* x, const float* threshold, size_t k, size_t rows, int8_t* tiles) {
  const __m512i plus = _mm512_set1_epi8(1);
  const __m512i minus = _mm512_set1_epi8(-1);
  const __m512 zero = _mm512_setzero_ps();
  for (size_t row = 0; row < rows; ++row) {
    const float* from = x + row * k;
    int8_t* to = tiles + row * kTileTerms;
    size_t i = 0;
    for (; i + kTileTerms <= k; i += kTileTerms, to += kTileBytes) {
      __mmask16 less[4];
      for (size_t j = 0; j < 4; ++j) {
        const size_t at = i + j * kTileSide;
        const __m512 limit = threshold != nullptr ? _mm512_loadu_ps(threshold + at) : zero;
        less[j] = _mm512_cmp_ps_mask(_mm512_loadu_ps(from + at), limit, _CMP_LT_OQ);
      }
      const __mmask64 bits = _mm512_kunpackd(_mm512_kunpackw(less[3], less[2]), _mm512_kunpackw(less[1], less[0]));
      _mm512_storeu_si512(to, _mm512_mask_blend_epi8(bits, plus, minus));
    }
    if (i == k) continue;
    uint64_t bits = 0;
    for (size_t j = 0; i + j * kTileSide < k; ++j) {
      const size_t at = i + j * kTileSide;
      const __mmask16 there = first_lanes(k - at);
      const __m512 limit = threshold != nullptr ? _mm512_maskz_loadu_ps(there, threshold + at) : zero;
      const __m512 values = _mm512_maskz_loadu_ps(there, from + at);
      bits |= uint64_t{_mm512_mask_cmp_ps_mask(there, values, limit, _CMP_LT_OQ)} << (j * kTileSide);
    }
    const __mmask64 there = _cvtu64_mask64((uint64_t{1} << (k - i)) - 1);
    const __m512i signs = _mm512_mask_blend_epi8(_cvtu64_mask64(bits), plus, minus);
    _mm512_storeu_si512(to, _mm512_maskz_mov_epi8(there, signs));
  }
}

template <size_t kChannels>
void sign_channels(const TileSigns& work) {
  __m512 limits[kChannels];
  for (size_t c = 0; c < kChannels; ++c) {
    limits[c] = _mm512_set1_ps(work.threshold != nullptr ? work.threshold[c] : 0.0f);
  }
  const __m512i plus = _mm512_set1_epi32(static_cast<int>(0x01010101u >> (8 * (4 - kChannels))));
  for (size_t row = 0; row < work.rows; ++row) {
    const float* x = work.x + row * work.pixels;
    uint32_t* words = work.words + row * work.pitch;
    for (size_t first = 0; first < work.pixels; first += kTileSide) {
      const __mmask16 there = first_lanes(work.pixels - first);
      __m512i signs = plus;
      for (size_t c = 0; c < kChannels; ++c) {
        const __m512 values = _mm512_maskz_loadu_ps(there, x + c * work.plane + first);
        const __mmask16 less = _mm512_cmp_ps_mask(values, limits[c], _CMP_LT_OQ);
        // 0x01 becomes 0xff, which is -1.
        signs = _mm512_mask_or_epi32(signs, less, signs, _mm512_set1_epi32(static_cast<int>(0xffu << (8 * c))));
      }
      _mm512_mask_storeu_epi32(words + first, there, signs);
    }
  }
}

void sign_pixels(const TileSigns& work) {
  switch (work.channels) {
    case 1: return sign_channels<1>(work);
    case 2: return sign_channels<2>(work);
    case 3: return sign_channels<3>(work);
    default: return sign_channels<4>(work);
  }
}

}  // namespace

const TileKernel kAmxTiles = {begin, end, sign_rows, sign_pixels, all<false>, all<true>};

}  // namespace edgepack
