// x86-64 with AMX-INT8: TDPBSSD adds the products of sixteen rows, sixteen columns and 64 terms of signed
// bytes in sixteen cycles, 1024 products a cycle.
//
// Of the eight tiles four hold sums of 32 rows by 32 columns, two hold activations and two weights: a step
// loads four tiles for four products. Products leave the vector units idle, and these do what is left
// meanwhile, a little behind every product:
//
// - weights are expanded from bits into a ring, a few steps ahead: eight bits of each of eight bytes become 64
//   bytes by one affine map (GF2P8AFFINEQB with a row of the matrix for each bit of a byte: rows 1 to 7 choose
//   the bit, row 0 gives nothing, and 1 is added; so 0 becomes 0x01 and 1 becomes 0xff);
// - the sums of the panel before are scaled and written. Written at once they would wait for tiles to be
//   stored, and every row of an output lies in another page.
//
// Two groups meet all panels before the next two come: their activations, the ring and the sums then stay
// in the first cache together (40 of 48 KiB where a row has 768 terms), and the weights are expanded anew
// for each two. That takes a port for stores that had little to do, and tiles loaded from the second cache are what
// a core that is shared with another thread is slowest at. Where few steps meet many groups, as in large images of
// few channels, outputs need that port, and a panel's weights are expanded once for all groups instead.
//
// Instructions are written out: the compiler's own functions for them do not say that they read memory.
#include <immintrin.h>

#include "tile_kernel.h"

namespace edgepack {
namespace {

constexpr size_t kStepBytes = 2 * kTileBytes;
constexpr size_t kRing = 4;       // steps whose weights are expanded: 8 KiB
constexpr size_t kAhead = 3;      // steps from the expansion of a tile to its use: its stores are over by then
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

// Of the affine map for each eight bytes: the first eight take bit 0 of what they are given, and so on.
inline __m512i chosen_bits() {
  const __m512i bits = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_sllv_epi64(_mm512_set1_epi64(0x0001010101010101), bits);  // the last row is that of bit 0
}

// A quarter of a step: a row of 64 bytes for every 64 bits.
inline void expand(const uint64_t* bits, int8_t* tiles, size_t quarter, __m512i chosen) {
  constexpr size_t kRows = 2 * kTileSide / 4;
  for (size_t i = quarter * kRows; i < (quarter + 1) * kRows; ++i) {
    const __m512i row = _mm512_set1_epi64(static_cast<long long>(bits[i]));
    _mm512_store_si512(tiles + i * kTileTerms, _mm512_gf2p8affine_epi64_epi8(row, chosen, 1));
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

  // To the next panel.
  static void advance(TileWork& work) {
    work.alpha += kTileChannels;
    work.bias += kTileChannels;
    work.y += kTileChannels;
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
    for (size_t i = 0; i < kRowsAhead; ++i) ask_for(i);
  }

  // The next `count` channels; 32 are always all.
  void write(size_t count) {
    const size_t last = least(at_ + count, channels_);
    for (; at_ < last; ++at_, y_ += work_->y_stride) {
      ask_for(kRowsAhead);
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

  // To the next panel.
  static void advance(TileWork& work) {
    work.alpha += kTileChannels;
    work.bias += kTileChannels;
    work.y += kTileChannels * work.y_stride;
  }

 private:
  void ask_for(size_t ahead) const {
    const float* line = y_ + least(ahead, channels_ - 1 - at_) * work_->y_stride;
    for (size_t i = 0; i < pair_; ++i) _m_prefetchw(const_cast<float*>(line + work_->starts[group_ + i]));
  }

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

#include "amx_bits.inc"

// Weights on their way from bits to tiles, step by step; a step's place is taken again `places` steps later.
struct Weights {
  const uint64_t* bits;
  size_t steps;
  int8_t* tiles;
  size_t places;
};

inline void expand(const Weights& weights, size_t step, size_t place, size_t quarter, __m512i chosen) {
  expand(weights.bits + step * 2 * kTileSide, weights.tiles + place * kStepBytes, quarter, chosen);
}

// The first steps, before any is multiplied.
inline void begin_expanding(const Weights& weights) {
  const __m512i chosen = chosen_bits();
  for (size_t step = 0; step < least(kAhead, weights.steps); ++step) {
    for (size_t quarter = 0; quarter < 4; ++quarter) expand(weights, step, step % weights.places, quarter, chosen);
  }
}

// One group or two with the panel that `work` stands at, whose first step is `at` of the weights. What waits in
// `before` is written meanwhile.
template <bool kConv, int kPair, bool kExpand, typename Outputs>
inline void one_pair(const TileWork& work, size_t group, size_t channels, const Weights& weights, size_t at,
                     Sums& sums, Outputs& before) {
  const int8_t* activations = work.activations + group * work.group_bytes;
  const size_t written = (2 * kTileSide + work.steps - 1) / work.steps;
  const __m512i chosen = chosen_bits();
  size_t place = at % weights.places;
  size_t next_place = (at + kAhead) % weights.places;
  clear_sums<kPair>();
  for (size_t step = 0; step < work.steps; ++step) {
    const int8_t* tiles = weights.tiles + place * kStepBytes;
    const int8_t* from = activations + work.offsets[step];
    const size_t next = at + step + kAhead;
    const auto expand_next = [&](size_t quarter) {
      if (kExpand && next < weights.steps) expand(weights, next, next_place, quarter, chosen);
    };
    load<6>(tiles, kTileTerms);
    load<4>(from, work.stride);
    multiply_tiles<kConv, 0, 0>();
    expand_next(0);
    load<7>(tiles + kTileBytes, kTileTerms);
    multiply_tiles<kConv, 0, 1>();
    expand_next(1);
    if constexpr (kPair == 2) {
      load<5>(from + work.group_bytes, work.stride);
      multiply_tiles<kConv, 1, 0>();
    }
    expand_next(2);
    if constexpr (kPair == 2) multiply_tiles<kConv, 1, 1>();
    expand_next(3);
    before.write(written);
    if (++place == weights.places) place = 0;
    if (++next_place == weights.places) next_place = 0;
  }
  store_sums<kPair>(sums);
  before.begin(work, group, kPair, channels, sums);
}

template <bool kConv, bool kExpand, typename Outputs>
inline void one_or_two(const TileWork& work, size_t group, size_t channels, const Weights& weights, size_t at,
                       Sums& sums, Outputs& before) {
  if (group + 1 < work.groups) {
    one_pair<kConv, 2, kExpand>(work, group, channels, weights, at, sums, before);
  } else {
    one_pair<kConv, 1, kExpand>(work, group, channels, weights, at, sums, before);
  }
}

template <bool kConv, typename Outputs>
void all(const TileWork& work) {
  alignas(64) int8_t tiles[kTileStepsKept * kStepBytes];
  Sums sums[2];
  size_t turn = 0;
  TileWork panel = work;  // what waits to be written refers to it
  Outputs before;
  if (work.steps <= kTileStepsKept && work.groups >= kTileGroupsKept) {
    for (size_t left = work.channels; left > 0; left -= least(left, kTileChannels)) {
      const Weights weights = {panel.weights, work.steps, tiles, work.steps};
      const size_t channels = least(left, kTileChannels);
      begin_expanding(weights);
      one_or_two<kConv, true>(panel, 0, channels, weights, 0, sums[++turn % 2], before);
      for (size_t group = 2; group < work.groups; group += 2) {
        one_or_two<kConv, false>(panel, group, channels, weights, 0, sums[++turn % 2], before);
      }
      panel.weights += work.steps * 2 * kTileSide;
      Outputs::advance(panel);
    }
    return before.write(2 * kTileSide);
  }
  const size_t panels = (work.channels + kTileChannels - 1) / kTileChannels;
  const Weights weights = {work.weights, panels * work.steps, tiles, kRing};
  for (size_t group = 0; group < work.groups; group += 2) {
    panel = work;
    begin_expanding(weights);
    for (size_t i = 0; i < panels; ++i) {
      const size_t channels = least(work.channels - i * kTileChannels, kTileChannels);
      one_or_two<kConv, true>(panel, group, channels, weights, i * work.steps, sums[++turn % 2], before);
      Outputs::advance(panel);
    }
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

template <bool kConv, typename Numbers, typename Bits>
void all_of(const TileWork& work) {
  work.bits != nullptr ? all<kConv, Bits>(work) : all<kConv, Numbers>(work);
}

}  // namespace

const TileKernel kAmxTiles = {begin,       end,           sign_rows,
                              sign_pixels, expand_rows,   expand_pixels,
                              all_of<false, Rows, RowsOfBits>, all_of<true, Positions, PositionsOfBits>};

}  // namespace edgepack
