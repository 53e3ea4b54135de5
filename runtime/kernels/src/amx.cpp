// x86-64 with AMX-INT8: TDPBSSD adds the products of sixteen rows, sixteen columns and 64 terms of signed
// bytes in sixteen cycles, 1024 products a cycle.
//
// Of the eight tiles four hold sums of 32 rows by 32 columns, two hold activations and two weights: a step
// loads four tiles for four products. Products leave the vector units idle, and these do what is left
// meanwhile, a little at every step:
//
// - weights are expanded from bits during the first two groups, a few steps ahead; the groups after them
//   find the bytes in the first cache, which rows of activations therefore pass by (tileloaddt1);
// - the sums of the two groups before are scaled and written. Written at once they would wait for tiles to
//   be stored, and every row of an output lies in another page.
//
// Instructions are written out: the compiler's own functions for them do not say that they read memory.
#include <immintrin.h>

#include "tile_kernel.h"

namespace edgepack {
namespace {

constexpr size_t kSteps = 18;   // expanded at a time, at most: 36 KiB
constexpr size_t kGroups = 16;  // whose sums are kept from one part of the steps to the next: 32 KiB
constexpr size_t kAhead = 6;    // steps from the expansion of a tile to its first use: its stores are over by then
constexpr size_t kStepBytes = 2 * kTileBytes;
constexpr size_t kRowsAhead = 4;  // whose lines are asked for before they are written

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

// What is loaded so leaves the first cache to others.
template <int kTile>
inline void load_passing(const void* from, size_t stride) {
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
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

inline __m512 scaled(const int32_t* sums, __m512 alpha, __m512 bias) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), alpha), bias);
}

inline __mmask16 first_lanes(size_t count) {
  return count >= kTileSide ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Sums on their way into a matrix: a row of sums is a row of the output.
class Rows {
 public:
  // What `write` then writes: one group or two of the panel that `work` stands at, of `channels` channels.
  void begin(const TileWork& work, size_t group, size_t pair, size_t channels, const Sums& sums) {
    const size_t row = group * kTileSide;
    sums_ = &sums;
    at_ = 0;
    rows_ = least(work.rows - row, pair * kTileSide);
    stride_ = work.y_stride;
    y_ = work.y + row * stride_;
    for (size_t half = 0; half < 2; ++half) {
      stored_[half] = half * kTileSide < channels ? first_lanes(channels - half * kTileSide) : 0;
      alpha_[half] = _mm512_loadu_ps(work.alpha + half * kTileSide);
      bias_[half] = _mm512_loadu_ps(work.bias + half * kTileSide);
    }
    for (size_t i = 0; i < kRowsAhead; ++i) ask_for(i);
  }

  // The next `count` rows; 32 are always all.
  void write(size_t count) {
    const size_t last = least(at_ + count, rows_);
    for (; at_ < last; ++at_, y_ += stride_) {
      ask_for(kRowsAhead);
      const auto& of = sums_->of[at_ / kTileSide];
      _mm512_mask_storeu_ps(y_, stored_[0], scaled(of[0][at_ % kTileSide], alpha_[0], bias_[0]));
      _mm512_mask_storeu_ps(y_ + kTileSide, stored_[1], scaled(of[1][at_ % kTileSide], alpha_[1], bias_[1]));
    }
  }

 private:
  void ask_for(size_t ahead) const {
    const float* line = y_ + least(ahead, rows_ - 1 - at_) * stride_;
    _m_prefetchw(const_cast<float*>(line));
    _m_prefetchw(const_cast<float*>(line + kTileSide));
  }

  const Sums* sums_ = nullptr;
  size_t at_ = 0;
  size_t rows_ = 0;
  size_t stride_ = 0;
  float* y_ = nullptr;
  __mmask16 stored_[2] = {};
  __m512 alpha_[2] = {};
  __m512 bias_[2] = {};
};

// Sums on their way into an image: a row of sums is a channel at sixteen positions.
class Positions {
 public:
  void begin(const TileWork& work, size_t group, size_t pair, size_t channels, const Sums& sums) {
    work_ = &work;
    sums_ = &sums;
    at_ = 0;
    group_ = group;
    pair_ = pair;
    channels_ = channels;
    y_ = work.y;
    alpha_ = work.alpha;
    bias_ = work.bias;
  }

  // The next `count` channels; 32 are always all.
  void write(size_t count) {
    const size_t last = least(at_ + count, channels_);
    for (; at_ < last; ++at_, y_ += work_->y_stride) {
      const __m512 alpha = _mm512_set1_ps(alpha_[at_]);
      const __m512 bias = _mm512_set1_ps(bias_[at_]);
      for (size_t i = 0; i < pair_; ++i) {
        const __m512 values = scaled(sums_->of[i][at_ / kTileSide][at_ % kTileSide], alpha, bias);
        const __mmask16 stored = work_->stored[group_ + i];
        float* y = y_ + work_->starts[group_ + i];
        if (stored == 0xffff) {
          _mm512_storeu_ps(y, values);
        } else {
          const __mmask16 written = first_lanes(static_cast<size_t>(__builtin_popcount(stored)));
          _mm512_mask_storeu_ps(y, written, _mm512_maskz_compress_ps(stored, values));
        }
      }
    }
  }

 private:
  const TileWork* work_ = nullptr;
  const Sums* sums_ = nullptr;
  size_t at_ = 0;
  size_t group_ = 0;
  size_t pair_ = 0;
  size_t channels_ = 0;
  float* y_ = nullptr;
  const float* alpha_ = nullptr;
  const float* bias_ = nullptr;
};

// A run over a panel's steps: some of them, where they are many.
struct Part {
  size_t first;  // step
  size_t last;
  bool begins;
  bool ends;
  bool expands;  // the weights: with the first groups only
};

// One group or two; `tiles` holds the part's weights, or will. What waits in `before` is written meanwhile.
template <bool kConv, int kPair, bool kExpand, typename Outputs>
inline void add_products(const TileWork& work, size_t group, const Part& part, int8_t* tiles, Outputs& before) {
  const int8_t* activations = work.activations + group * work.group_bytes;
  const uint64_t* bits = work.weights + part.first * 2 * kTileSide;
  const size_t count = part.last - part.first;
  const size_t written = (2 * kTileSide + count - 1) / count;
  if constexpr (kExpand) {
    for (size_t i = 0; i < kAhead && i < count; ++i) expand(bits + i * 2 * kTileSide, tiles + i * kStepBytes);
  }
  for (size_t i = 0; i < count; ++i) {
    const int8_t* at = activations + work.offsets[part.first + i];
    load<6>(tiles + i * kStepBytes, kTileTerms);
    // Taps of an image meet the same activations again.
    kConv ? load<4>(at, work.stride) : load_passing<4>(at, work.stride);
    multiply_tiles<kConv, 0, 0>();
    load<7>(tiles + i * kStepBytes + kTileBytes, kTileTerms);
    multiply_tiles<kConv, 0, 1>();
    if constexpr (kPair == 2) {
      kConv ? load<5>(at + work.group_bytes, work.stride) : load_passing<5>(at + work.group_bytes, work.stride);
      multiply_tiles<kConv, 1, 0>();
      multiply_tiles<kConv, 1, 1>();
    }
    before.write(written);
    if constexpr (kExpand) {
      const size_t next = i + kAhead;
      if (next < count) expand(bits + next * 2 * kTileSide, tiles + next * kStepBytes);
    }
  }
}

template <bool kConv, int kPair, typename Outputs>
void one_pair(const TileWork& work, size_t group, size_t channels, const Part& part, int8_t* tiles, Sums& sums,
              Outputs& before) {
  part.begins ? clear_sums<kPair>() : load_sums<kPair>(sums);
  if (part.expands) {
    add_products<kConv, kPair, true>(work, group, part, tiles, before);
  } else {
    add_products<kConv, kPair, false>(work, group, part, tiles, before);
  }
  store_sums<kPair>(sums);
  if (part.ends) before.begin(work, group, kPair, channels, sums);
}

// All groups of the panel that `work` stands at. `turn` changes the place of sums that are kept for no other part.
template <bool kConv, typename Outputs>
void one_panel(const TileWork& work, size_t channels, int8_t* tiles, Sums* sums, Outputs& before, size_t& turn) {
  const size_t parts = (work.steps + kSteps - 1) / kSteps;
  const size_t steps = (work.steps + parts - 1) / parts;
  for (size_t begin = 0; begin < work.groups; begin += kGroups) {
    const size_t end = least(begin + kGroups, work.groups);
    for (size_t first = 0; first < work.steps; first += steps) {
      const size_t last = least(first + steps, work.steps);
      for (size_t group = begin; group < end; group += 2) {
        const bool expands = parts == 1 ? group == 0 : group == begin;
        const Part part = {first, last, first == 0, last == work.steps, expands};
        Sums& kept = sums[parts == 1 ? ++turn % 2 : (group - begin) / 2];
        if (group + 1 < end) {
          one_pair<kConv, 2>(work, group, channels, part, tiles, kept, before);
        } else {
          one_pair<kConv, 1>(work, group, channels, part, tiles, kept, before);
        }
      }
    }
  }
}

template <bool kConv, typename Outputs>
void all(const TileWork& work) {
  alignas(64) int8_t tiles[kSteps * kStepBytes];
  Sums sums[kGroups / 2];
  Outputs before;
  TileWork panel = work;
  size_t turn = 0;
  for (size_t left = work.channels; left > 0; left -= least(left, kTileChannels)) {
    one_panel<kConv>(panel, least(left, kTileChannels), tiles, sums, before, turn);
    panel.weights += work.steps * 2 * kTileSide;
    panel.alpha += kTileChannels;
    panel.bias += kTileChannels;
    panel.y += kTileChannels * (kConv ? work.y_stride : 1);
  }
  before.write(2 * kTileSide);
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

const TileKernel kAmxTiles = {begin, end, sign_rows, sign_pixels, all<false, Rows>, all<true, Positions>};

}  // namespace edgepack
