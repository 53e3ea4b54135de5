// Convolutions with AVX-512 and VPOPCNTDQ: sixteen pixels of the output a vector, one word of weights, broadcast, meets
// all of them. Register tile: 8 channels by sixteen pixels.
#include "avx512.h"
#include "avx512_count.h"
#include "avx512_unroll.h"

namespace edgepack::avx512 {
namespace {

// Four words of sixteen positions against four words of one channel.
//
// In assembly because a loop over eight channels needs nearly all registers: from intrinsics GCC 12 makes copies and
// spills that cost a tenth of the time. Each parity here takes the place of a word that nothing needs any more.
inline void add_four(Count& count, const __m512i (&words)[4], const uint32_t* weights) {
  __m512i x, y;
  __asm__(
      "vpxord %[w1]%{1to16%}, %[a1], %[x]\n\t"
      "vpxord %[w2]%{1to16%}, %[a2], %[y]\n\t"
      "vpternlogd %[majority], %[y], %[x], %[parity]\n\t"
      "vpopcntd %[parity], %[parity]\n\t"
      "vpaddd %[parity], %[carries], %[carries]\n\t"
      "vpxord %[w3]%{1to16%}, %[a3], %[x]\n\t"
      "vpxord %[w4]%{1to16%}, %[a4], %[parity]\n\t"
      "vpternlogd %[majority], %[parity], %[x], %[y]\n\t"
      "vpopcntd %[y], %[y]\n\t"
      "vpaddd %[y], %[carries], %[carries]"
      : [carries] "+v"(count.carries), [parity] "+v"(count.parity), [x] "=&v"(x), [y] "=&v"(y)
      : [a1] "v"(words[0]), [a2] "v"(words[1]), [a3] "v"(words[2]), [a4] "v"(words[3]), [w1] "m"(weights[0]),
        [w2] "m"(weights[kConvChannels]), [w3] "m"(weights[2 * kConvChannels]), [w4] "m"(weights[3 * kConvChannels]),
        [majority] "i"(kMajority));
}

// Running XORs that are kept for all panels, 16 KiB: of as many groups of positions as fit, one behind the other. Of
// more taps than that a part at a time is made, again for each panel.
constexpr size_t kKept = 256;

// Where the words of a group's pixels are: those of a row are adjacent, and so are those of the next.
struct Places {
  const uint32_t* bits;  // of the first pixel
  size_t rest;           // pixels until the next row begins
  size_t row;            // pixels of a row
  size_t gap;            // words between rows
  size_t count;          // pixels that there are, at most sixteen
};

inline Places places_of(const ConvWork& work, size_t group) {
  const size_t first = group * kPositions;
  const size_t row = first / work.row;
  const size_t left = work.plane - first;
  return {work.bits + first + row * work.gap, (row + 1) * work.row - first, work.row, work.gap,
          left < kPositions ? left : kPositions};
}

// One read where a row has all of them, two where all are near, a read a row elsewhere.
struct AllInOneRow {
  explicit AllInOneRow(const Places&) {}
  __m512i operator()(const uint32_t* at) const { return _mm512_loadu_si512(at); }
};

struct Near {
  __m512i places;
  explicit Near(const Places& of) : places(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)) {
    const __m512i gap = _mm512_set1_epi32(static_cast<int>(of.gap));
    for (size_t lane = of.rest; lane < of.count; lane += of.row) {
      places = _mm512_mask_add_epi32(places, static_cast<__mmask16>(0xffffu << lane), places, gap);
    }
  }
  __m512i operator()(const uint32_t* at) const {
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(at), places, _mm512_loadu_si512(at + kPositions));
  }
};

struct RowByRow {
  Places of;
  explicit RowByRow(const Places& places) : of(places) {}
  __m512i operator()(const uint32_t* at) const {
    __m512i words = _mm512_loadu_si512(at);
    for (size_t lane = of.rest; lane < of.count; lane += of.row) {
      at += of.gap;
      words = _mm512_mask_loadu_epi32(words, static_cast<__mmask16>(0xffffu << lane), at);
    }
    return words;
  }
};

template <typename Reader>
inline __m512i run_words(const Places& places, const size_t* offsets, size_t taps, __m512i sum, __m512i* running) {
  const Reader read(places);
  for (size_t tap = 0; tap < taps; ++tap) {
    sum = _mm512_xor_si512(sum, read(places.bits + offsets[tap]));
    running[tap] = sum;
  }
  return sum;
}

// Running XORs of the words that a group's positions meet at the taps from `first` to before `last`, on from `sum`.
inline __m512i run_taps(const ConvWork& work, size_t group, size_t first, size_t last, __m512i sum, __m512i* running) {
  const Places places = places_of(work, group);
  const size_t* offsets = work.offsets + first;
  if (places.rest >= places.count) return run_words<AllInOneRow>(places, offsets, last - first, sum, running);
  const size_t breaks = (places.count - 1 - places.rest) / places.row + 1;
  const bool near = kPositions + breaks * places.gap <= 2 * kPositions;
  return near ? run_words<Near>(places, offsets, last - first, sum, running)
              : run_words<RowByRow>(places, offsets, last - first, sum, running);
}

// Sixteen positions are a vector here, and one word of weights, broadcast, meets all of them. Words that are no four
// come first: behind the loop they would keep its registers in use.
inline void count_taps(const __m512i* running, const uint32_t* weights, size_t taps, Count (&counts)[kConvChannels]) {
  const auto parity = [](__m512i words, uint32_t weight) {
    return _mm512_xor_si512(words, _mm512_set1_epi32(static_cast<int>(weight)));
  };
  size_t tap = 0;
  if (taps % 2 != 0) {
    EDGEPACK_UNROLL
    for (size_t c = 0; c < kConvChannels; ++c) add_one(counts[c], parity(running[0], weights[c]));
    tap = 1;
  }
  if (taps % 4 >= 2) {
    const uint32_t* w = weights + tap * kConvChannels;
    EDGEPACK_UNROLL
    for (size_t c = 0; c < kConvChannels; ++c) {
      add_two(counts[c], parity(running[tap], w[c]), parity(running[tap + 1], w[kConvChannels + c]));
    }
    tap += 2;
  }
  for (; tap < taps; tap += 4) {
    const __m512i words[4] = {running[tap], running[tap + 1], running[tap + 2], running[tap + 3]};
    const uint32_t* w = weights + tap * kConvChannels;
    EDGEPACK_UNROLL
    for (size_t c = 0; c < kConvChannels; ++c) add_four(counts[c], words, w + c);
  }
}

// What becomes of the counts of one panel at one group of positions. Few classes are a vector.
template <bool kBits, bool kFewClasses>
inline void finish(const ConvWork& work, size_t panel, size_t group, const Count (&counts)[kConvChannels]) {
  const __mmask16 stored = work.stored[group];
  const __m512i classes = _mm512_loadu_si512(work.classes + group * kPositions);
  const size_t first = panel * kConvChannels;
  const int32_t* table = work.sums + first * work.class_stride;
  __m512i bytes = _mm512_setzero_si512();
  EDGEPACK_UNROLL
  for (size_t c = 0; c < kConvChannels; ++c, table += work.class_stride) {
    const __m512i full = kFewClasses ? _mm512_permutexvar_epi32(classes, _mm512_loadu_si512(table))
                                     : _mm512_i32gather_epi32(classes, table, 4);
    const __m512i dot = _mm512_sub_epi32(full, _mm512_slli_epi32(differing(counts[c]), 1));
    if constexpr (kBits) {
      const __m512i above = _mm512_sub_epi32(dot, _mm512_set1_epi32(static_cast<int>(work.low[first + c])));
      const __m512i width = _mm512_set1_epi32(static_cast<int>(work.width[first + c]));
      const __mmask16 set = _mm512_cmplt_epu32_mask(above, width);
      bytes = _mm512_mask_or_epi32(bytes, set, bytes, _mm512_set1_epi32(1 << c));
    } else if (first + c < work.channels) {
      const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(work.alpha[first + c]));
      const __m512 y = _mm512_add_ps(scaled, _mm512_set1_ps(work.bias[first + c]));
      _mm512_mask_storeu_ps(work.y + (first + c) * work.plane + group * kPositions, stored, y);
    }
  }
  if constexpr (kBits) {
    _mm512_mask_cvtepi32_storeu_epi8(work.packed + panel * work.plane + group * kPositions, stored, bytes);
  }
}

// Any number of taps.
template <bool kBits, bool kFewClasses>
void conv_of_many_taps(const ConvWork& work) {
  __m512i running[kKept];
  for (size_t panel = 0; panel < work.panels; ++panel) {
    const uint32_t* weights = work.weights + panel * work.taps * kConvChannels;
    for (size_t group = work.first; group < work.last; ++group) {
      Count counts[kConvChannels];
      __m512i sum = _mm512_setzero_si512();
      for (size_t first = 0; first < work.taps; first += kKept) {
        const size_t last = work.taps - first < kKept ? work.taps : first + kKept;
        sum = run_taps(work, group, first, last, sum, running);
        count_taps(running, weights + first * kConvChannels, last - first, counts);
      }
      finish<kBits, kFewClasses>(work, panel, group, counts);
    }
  }
}

template <bool kBits, bool kFewClasses>
void conv_of_few_taps(const ConvWork& work) {
  __m512i running[kKept];
  const size_t together = kKept / work.taps;
  for (size_t first = work.first; first < work.last; first += together) {
    const size_t last = work.last - first < together ? work.last : first + together;
    for (size_t group = first; group < last; ++group) {
      run_taps(work, group, 0, work.taps, _mm512_setzero_si512(), running + (group - first) * work.taps);
    }
    for (size_t panel = 0; panel < work.panels; ++panel) {
      const uint32_t* weights = work.weights + panel * work.taps * kConvChannels;
      for (size_t group = first; group < last; ++group) {
        Count counts[kConvChannels];
        count_taps(running + (group - first) * work.taps, weights, work.taps, counts);
        finish<kBits, kFewClasses>(work, panel, group, counts);
      }
    }
  }
}

// Eight channels at two pixels are a vector too, of which the weights are read as they stand.
constexpr __mmask16 kSecondPixel = 0xff00;

inline __m512i twice(const void* eight) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(static_cast<const __m256i*>(eight)));
}

template <size_t kTogether>
inline void count_channels(const __m512i* running, const uint32_t* weights, size_t stride, size_t taps, Count* counts) {
  Count made[kTogether];
  EDGEPACK_UNROLL
  for (size_t i = 0; i < kTogether; ++i) made[i] = counts[i];
  for (size_t tap = 0; tap < taps; tap += 2) {
    const size_t second = tap + 1 < taps ? tap + 1 : tap;
    EDGEPACK_UNROLL
    for (size_t i = 0; i < kTogether; ++i) {
      const uint32_t* w = weights + i * stride;
      add_two(made[i], _mm512_xor_si512(running[tap], twice(w + tap * kConvChannels)),
              _mm512_xor_si512(running[second], twice(w + second * kConvChannels)));
    }
  }
  EDGEPACK_UNROLL
  for (size_t i = 0; i < kTogether; ++i) counts[i] = made[i];
}

// What becomes of the counts of one panel at two pixels, or at one. `of_class` is where their sums are in a panel's.
template <bool kBits>
inline void finish_pixels(const ConvWork& work, size_t panel, size_t pixel, bool two, __m512i of_class,
                          const Count& count) {
  const size_t first = panel * kConvChannels;
  const __m512i full = _mm512_i32gather_epi32(of_class, work.sums + first * work.class_stride, 4);
  const __m512i dot = _mm512_sub_epi32(full, _mm512_slli_epi32(differing(count), 1));
  if constexpr (kBits) {
    const __m512i above = _mm512_sub_epi32(dot, twice(work.low + first));
    const unsigned bits = _mm512_cmplt_epu32_mask(above, twice(work.width + first));
    uint8_t* to = work.packed + panel * work.plane + pixel;
    to[0] = static_cast<uint8_t>(bits);
    if (two) to[1] = static_cast<uint8_t>(bits >> 8);
  } else {
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_castsi512_ps(twice(work.alpha + first)));
    float y[2 * kConvChannels];
    _mm512_storeu_ps(y, _mm512_add_ps(scaled, _mm512_castsi512_ps(twice(work.bias + first))));
    for (size_t c = 0; c < kConvChannels && first + c < work.channels; ++c) {
      float* to = work.y + (first + c) * work.plane + pixel;
      to[0] = y[c];
      if (two) to[1] = y[kConvChannels + c];
    }
  }
}

template <bool kBits>
void conv_of_two_pixels(const ConvWork& work, size_t pixel, bool two) {
  const size_t other = two ? pixel + 1 : pixel;
  const uint32_t* a = work.bits + pixel + pixel / work.row * work.gap;
  const uint32_t* b = work.bits + other + other / work.row * work.gap;
  const auto both = [](uint32_t of_a, uint32_t of_b) {
    return _mm512_mask_set1_epi32(_mm512_set1_epi32(static_cast<int>(of_a)), kSecondPixel, static_cast<int>(of_b));
  };
  Count counts[kConvPanels];
  __m512i running[kKept];
  __m512i sum = _mm512_setzero_si512();
  for (size_t first = 0; first < work.taps; first += kKept) {
    const size_t taps = work.taps - first < kKept ? work.taps - first : kKept;
    for (size_t tap = 0; tap < taps; ++tap) {
      const size_t offset = work.offsets[first + tap];
      sum = _mm512_xor_si512(sum, both(a[offset], b[offset]));
      running[tap] = sum;
    }
    const uint32_t* weights = work.weights + first * kConvChannels;
    const size_t stride = work.taps * kConvChannels;
    size_t panel = 0;
    for (; panel + 4 <= work.panels; panel += 4) {
      count_channels<4>(running, weights + panel * stride, stride, taps, counts + panel);
    }
    for (; panel < work.panels; ++panel) {
      count_channels<1>(running, weights + panel * stride, stride, taps, counts + panel);
    }
  }
  const __m512i channels = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i rows = _mm512_mullo_epi32(channels, _mm512_set1_epi32(static_cast<int>(work.class_stride)));
  const auto of = [&](size_t at) { return static_cast<uint32_t>(work.classes[at]); };
  const __m512i of_class = _mm512_add_epi32(rows, both(of(pixel), of(other)));
  for (size_t panel = 0; panel < work.panels; ++panel) {
    finish_pixels<kBits>(work, panel, pixel, two, of_class, counts[panel]);
  }
}

template <bool kBits, bool kFewClasses>
void conv_of_groups(const ConvWork& work) {
  if (work.taps <= kKept) return conv_of_few_taps<kBits, kFewClasses>(work);
  conv_of_many_taps<kBits, kFewClasses>(work);
}

// Pixels in the last group up to which two at a time take less than all sixteen positions. A pair takes an eighth.
constexpr size_t kFewPixels = 8;

template <bool kBits>
void convolve(const ConvWork& work) {
  const size_t rest = work.plane % kPositions;
  const bool pairs = rest > 0 && rest <= kFewPixels && work.last * kPositions > work.plane;
  ConvWork groups = work;
  if (pairs) --groups.last;
  const bool few_classes = work.class_stride == kPositions;
  few_classes ? conv_of_groups<kBits, true>(groups) : conv_of_groups<kBits, false>(groups);
  if (!pairs) return;
  for (size_t pixel = work.plane - rest; pixel < work.plane; pixel += 2) {
    conv_of_two_pixels<kBits>(work, pixel, pixel + 1 < work.plane);
  }
}

}  // namespace

void conv(const ConvWork& work) { convolve<false>(work); }
void conv_bits(const ConvWork& work) { convolve<true>(work); }

}  // namespace edgepack::avx512
