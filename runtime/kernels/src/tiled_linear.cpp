#include "tiled_linear.h"

#include <algorithm>
#include <thread>

namespace edgepack {
namespace {

constexpr size_t kGroupsOfAPart = 16;  // rows that a panel of weights is expanded for, in sixteens
constexpr size_t kPanelsOfAPart = 4;   // the sums of one are written while the next is multiplied

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

TiledLinear::TiledLinear(const TileKernel& kernel, size_t n, size_t k, const uint8_t* file,
                         const Finish& finish)
    : kernel_(kernel),
      n_(n),
      k_(k),
      offsets_(ceil_div(k, kTileTerms)),
      weights_(ceil_div(n, kTileChannels) * offsets_.size() * 2 * kTileSide) {
  const size_t channels = panels() * kTileChannels;
  if (finish.alpha != nullptr) {
    alpha_.assign(finish.alpha, finish.alpha + n);
    bias_.assign(finish.bias, finish.bias + n);
    alpha_.resize(channels);
    bias_.resize(channels);
  } else {
    low_.assign(finish.low, finish.low + n);
    width_.assign(finish.high, finish.high + n);
    for (size_t i = 0; i < n; ++i) width_[i] -= low_[i];
    low_.resize(channels);
    width_.resize(channels);
  }
  for (size_t step = 0; step < offsets_.size(); ++step) offsets_[step] = step * kTileBytes;
  std::fill_n(weights_.data(), weights_.size(), uint64_t{0});
  const size_t bytes = ceil_div(k, 8);
  for (size_t channel = 0; channel < n; ++channel) {
    const uint8_t* row = file + channel * bytes;
    uint64_t* tiles = weights_.data() + channel / kTileSide % 2 * kTileSide +
                      channel / kTileChannels * steps() * 2 * kTileSide;
    // Bits from k on meet activations that are 0.
    for (size_t i = 0; i < bytes * 2; ++i) {  // four terms of a channel are a word of a row
      const uint64_t four = (row[i / 2] >> (i % 2 * 4)) & 0xfu;
      tiles[i / kTileSide * 2 * kTileSide + i % kTileSide] |= four << (channel % kTileSide * 4);
    }
  }
}

TiledLinear::Call::Call(const TiledLinear& layer, const TileInput& x, size_t rows, const TileOutput& y)
    : layer_(layer),
      x_(x),
      rows_(rows),
      y_(y),
      signs_(ceil_div(rows, kTileSide) * layer.steps() * kTileBytes) {}

size_t TiledLinear::Call::most_threads() const {
  return ceil_div(layer_.panels(), kPanelsOfAPart) * ceil_div(ceil_div(rows_, kTileSide), kGroupsOfAPart);
}

void TiledLinear::Call::work() {
  const size_t groups = ceil_div(rows_, kTileSide);
  const size_t group_bytes = layer_.steps() * kTileBytes;
  size_t group = next_group_.fetch_add(1);
  for (; group < groups; group = next_group_.fetch_add(1)) {
    const size_t row = group * kTileSide;
    const size_t count = std::min(kTileSide, rows_ - row);
    int8_t* signs = signs_.data() + group * group_bytes;
    if (x_.bits != nullptr) {
      layer_.kernel_.expand_rows(x_.bits + row * ceil_div(layer_.k_, 8), layer_.k_, count, signs);
    } else {
      layer_.kernel_.sign_rows(x_.numbers + row * layer_.k_, x_.threshold, layer_.k_, count, signs);
    }
    signed_groups_.fetch_add(1, std::memory_order_release);
  }
  // All groups are taken: what is left is in work on other threads, and short.
  while (signed_groups_.load(std::memory_order_acquire) < groups) std::this_thread::yield();

  const size_t parts = most_threads();
  const size_t row_parts = ceil_div(groups, kGroupsOfAPart);
  size_t part = next_part_.fetch_add(1);
  if (part >= parts) return;
  layer_.kernel_.begin();
  for (; part < parts; part = next_part_.fetch_add(1)) {
    const size_t panel = part / row_parts * kPanelsOfAPart;
    const size_t first = part % row_parts * kGroupsOfAPart;
    const size_t channel = panel * kTileChannels;
    const size_t row = first * kTileSide;
    TileWork work{};
    work.activations = signs_.data() + first * group_bytes;
    work.group_bytes = group_bytes;
    work.stride = kTileTerms;
    work.offsets = layer_.offsets_.data();
    work.steps = layer_.steps();
    work.groups = std::min(kGroupsOfAPart, groups - first);
    work.weights = layer_.weights_.data() + panel * layer_.steps() * 2 * kTileSide;
    work.channels = std::min(kPanelsOfAPart * kTileChannels, layer_.n_ - channel);
    if (y_.bits != nullptr) {
      work.bits_stride = ceil_div(layer_.n_, 8);
      work.bits = y_.bits + row * work.bits_stride + channel / 8;
      work.low = layer_.low_.data() + channel;
      work.width = layer_.width_.data() + channel;
    } else {
      work.alpha = layer_.alpha_.data() + channel;
      work.bias = layer_.bias_.data() + channel;
      work.y = y_.numbers + row * layer_.n_ + channel;
      work.y_stride = layer_.n_;
    }
    work.rows = std::min(work.groups * kTileSide, rows_ - row);
    layer_.kernel_.linear(work);
  }
  layer_.kernel_.end();
}

}  // namespace edgepack
