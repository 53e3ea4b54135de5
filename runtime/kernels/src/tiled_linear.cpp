#include "tiled_linear.h"

#include <algorithm>

#include "tile_bits.h"

namespace edgepack {
namespace {

constexpr size_t kParts = 4;         // of two groups of rows, where there are several threads
constexpr size_t kFewestPanels = 4;  // of a part: the sums of one are written while the next is multiplied
constexpr size_t kRowsOfAPair = kTileGroups * kTileSide;

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
  for (size_t i = 0; i < weights_.size(); ++i) weights_.data()[i] = mirrored(weights_.data()[i]);
}

size_t TiledLinear::most_threads(size_t rows) const {
  return ceil_div(rows, kRowsOfAPair) * std::min(kParts, ceil_div(panels(), kFewestPanels));
}

TiledLinear::Call::Call(const TiledLinear& layer, const TileInput& x, size_t rows, const TileOutput& y, bool alone)
    : layer_(layer),
      x_(x),
      rows_(rows),
      y_(y),
      panels_(alone ? layer.panels() : std::max(kFewestPanels, ceil_div(layer.panels(), kParts))),
      signs_(ceil_div(rows, kTileSide) * layer.steps() * kTileBytes),
      pairs_(ceil_div(rows, kRowsOfAPair), ceil_div(layer.panels(), panels_)) {}

void TiledLinear::Call::work(size_t index, size_t threads) {
  if (pairs_.nothing_left()) return;
  layer_.kernel_.begin();
  pairs_.work(index, threads, [&](size_t pair) { sign(pair); }, [&](size_t pair, size_t part) { multiply(pair, part); });
  layer_.kernel_.end();
}

void TiledLinear::Call::sign(size_t pair) {
  const size_t end = std::min(rows_, (pair + 1) * kRowsOfAPair);
  for (size_t row = pair * kRowsOfAPair; row < end; row += kTileSide) {
    const size_t count = std::min(kTileSide, end - row);
    int8_t* signs = signs_.data() + row / kTileSide * layer_.steps() * kTileBytes;
    if (x_.bits != nullptr) {
      layer_.kernel_.expand_rows(x_.bits + row * ceil_div(layer_.k_, 8), layer_.k_, count, signs);
    } else {
      layer_.kernel_.sign_rows(x_.numbers + row * layer_.k_, x_.threshold, layer_.k_, count, signs);
    }
  }
}

void TiledLinear::Call::multiply(size_t pair, size_t part) {
  const size_t row = pair * kRowsOfAPair;
  const size_t panel = part * panels_;
  const size_t channel = panel * kTileChannels;
  TileWork work{};
  work.rows = std::min(kRowsOfAPair, rows_ - row);
  work.groups = ceil_div(work.rows, kTileSide);
  work.group_bytes = layer_.steps() * kTileBytes;
  work.activations = signs_.data() + row / kTileSide * work.group_bytes;
  work.stride = kTileTerms;
  work.offsets = layer_.offsets_.data();
  work.steps = layer_.steps();
  work.weights = layer_.weights_.data() + panel * layer_.steps() * 2 * kTileSide;
  work.channels = std::min(panels_ * kTileChannels, layer_.n_ - channel);
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
  layer_.kernel_.linear(work);
}

}  // namespace edgepack
