#include "bits_from_sums.h"

#include <algorithm>

namespace edgepack {
namespace {

constexpr size_t kRows = 8;
constexpr size_t kChannels = 64;  // at a time; panels have at most as many
constexpr size_t kGroups = 8;

// alpha and bias under which a layer gives its sums.
struct Plain {
  float alpha[kChannels];
  float bias[kChannels] = {};
  Plain() { std::fill_n(alpha, kChannels, 1.0f); }
};

const Plain& plain() {
  static const Plain made;
  return made;
}

bool inside(float sum, uint32_t low, uint32_t width) {
  return static_cast<uint32_t>(static_cast<int32_t>(sum)) - low < width;
}

}  // namespace

void linear_bits(const BitKernel& kernel, const LinearWork& work) {
  if (kernel.linear_bits != nullptr) return kernel.linear_bits(work);
  float sums[kRows * kChannels];
  const size_t panels = kChannels / kernel.lanes;
  for (size_t panel = 0; panel < work.panels; panel += panels) {
    const size_t first = panel * kernel.lanes;
    for (size_t row = 0; row < work.rows; row += kRows) {
      LinearWork part = work;
      part.activations += row * work.words;
      part.weights += first * work.words;
      part.alpha = plain().alpha;
      part.bias = plain().bias;
      part.y = sums;
      part.y_stride = kChannels;
      part.rows = std::min(kRows, work.rows - row);
      part.panels = std::min(panels, work.panels - panel);
      part.columns = std::min(kChannels, work.columns - first);
      kernel.linear(part);
      for (size_t i = 0; i < part.rows; ++i) {
        uint8_t* to = work.bits + (row + i) * work.bits_stride + first / 8;
        for (size_t n = 0; n < part.columns; n += 8) {
          unsigned bits = 0;
          for (size_t j = 0; j < 8 && n + j < part.columns; ++j) {
            const size_t channel = first + n + j;
            const bool set = inside(sums[i * kChannels + n + j], work.low[channel], work.width[channel]);
            bits |= static_cast<unsigned>(set) << j;
          }
          to[n / 8] = static_cast<uint8_t>(bits);
        }
      }
    }
  }
}

void conv_bits(const BitKernel& kernel, const ConvWork& work) {
  if (kernel.conv_bits != nullptr) return kernel.conv_bits(work);
  constexpr size_t kPlane = kGroups * kPositions;
  float sums[kConvChannels * kPlane];
  for (size_t group = work.first; group < work.last; group += kGroups) {
    ConvWork part = work;
    size_t starts[kGroups];
    size_t pixels = 0;
    part.first = 0;
    part.last = std::min(kGroups, work.last - group);
    for (size_t i = 0; i < part.last; ++i) {
      starts[i] = pixels;
      pixels += static_cast<size_t>(__builtin_popcount(work.stored[group + i]));
    }
    part.bits += group * kPositions;
    part.classes += group * kPositions;
    part.stored += group;
    part.starts = starts;
    part.alpha = plain().alpha;
    part.bias = plain().bias;
    part.y = sums;
    part.plane = kPlane;
    kernel.conv(part);
    for (size_t i = 0; i < part.last; ++i) {
      uint8_t* to = work.packed + work.starts[group + i];
      const size_t end = i + 1 < part.last ? starts[i + 1] : pixels;
      for (size_t pixel = starts[i]; pixel < end; ++pixel) {
        unsigned bits = 0;
        for (size_t c = 0; c < work.channels; ++c) {
          bits |= static_cast<unsigned>(inside(sums[c * kPlane + pixel], work.low[c], work.width[c])) << c;
        }
        *to++ = static_cast<uint8_t>(bits);
      }
    }
  }
}

}  // namespace edgepack
