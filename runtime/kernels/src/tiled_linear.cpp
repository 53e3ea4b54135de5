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
                         const float* alpha, const float* bias)
    : kernel_(kernel),
      n_(n),
      k_(k),
      offsets_(ceil_div(k, kTileTerms)),
      weights_(ceil_div(n, kTileChannels) * offsets_.size() * 2 * kTileSide),
      alpha_(alpha, alpha + n),
      bias_(bias, bias + n) {
  alpha_.resize(ceil_div(n, kTileChannels) * kTileChannels);
  bias_.resize(alpha_.size());
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

TiledLinear::Call::Call(const TiledLinear& layer, const float* x, const float* threshold, size_t rows, float* y)
    : layer_(layer),
      x_(x),
      threshold_(threshold),
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
    layer_.kernel_.sign_rows(x_ + row * layer_.k_, threshold_, layer_.k_, std::min(kTileSide, rows_ - row),
                             signs_.data() + group * group_bytes);
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
    work.alpha = layer_.alpha_.data() + channel;
    work.bias = layer_.bias_.data() + channel;
    work.channels = std::min(kPanelsOfAPart * kTileChannels, layer_.n_ - channel);
    work.y = y_ + row * layer_.n_ + channel;
    work.y_stride = layer_.n_;
    work.rows = std::min(work.groups * kTileSide, rows_ - row);
    layer_.kernel_.linear(work);
  }
  layer_.kernel_.end();
}

}  // namespace edgepack
