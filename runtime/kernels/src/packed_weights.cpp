#include "packed_weights.h"

#include <algorithm>

#include "bits_from_sums.h"

namespace edgepack {
namespace {

// Word `word` of a row of `k` bits in bytes; bits from k on are zero.
uint32_t word_of(const uint8_t* row, size_t k, size_t word) {
  uint32_t bits = 0;
  const size_t bytes = (k + 7) / 8;
  for (size_t i = 0; i < 4 && word * 4 + i < bytes; ++i) {
    bits |= static_cast<uint32_t>(row[word * 4 + i]) << (8 * i);
  }
  const size_t first = word * 32;
  if (first >= k) return 0;
  return k - first >= 32 ? bits : bits & ((1u << (k - first)) - 1);
}

}  // namespace

void words_of_bytes(const uint8_t* row, size_t k, uint32_t* words) {
  size_t word = 0;
  for (; (word + 1) * 32 <= k; ++word) {
    const uint8_t* of = row + word * 4;
    words[word] = uint32_t{of[0]} | uint32_t{of[1]} << 8 | uint32_t{of[2]} << 16 | uint32_t{of[3]} << 24;
  }
  for (; word < words_of(k); ++word) words[word] = word_of(row, k, word);
}

void run(uint32_t* words, size_t count, size_t stride) {
  uint32_t sum = 0;
  for (size_t i = 0; i < count; ++i) words[i * stride] = sum ^= words[i * stride];
}

PackedWeights::PackedWeights(const BitKernel& kernel, size_t n, size_t k, const uint8_t* file,
                             const Finish& finish)
    : kernel_(kernel),
      n_(n),
      k_(k),
      words_(words_of(k)),
      panels_((n + kernel.lanes - 1) / kernel.lanes),
      bits_(panels_ * kernel.lanes * words_),
      alpha_(finish.alpha != nullptr ? panels_ * kernel.lanes : 0),
      bias_(alpha_.size()),
      low_(finish.low != nullptr ? panels_ * kernel.lanes : 0),
      width_(low_.size()) {
  const size_t lanes = kernel.lanes;
  std::fill_n(bits_.data(), bits_.size(), 0u);
  std::fill_n(alpha_.data(), alpha_.size(), 0.0f);
  std::fill_n(bias_.data(), bias_.size(), 0.0f);
  std::fill_n(low_.data(), low_.size(), 0u);
  std::fill_n(width_.data(), width_.size(), 0u);
  for (size_t channel = 0; channel < n; ++channel) {
    if (finish.alpha != nullptr) {
      alpha_.data()[channel] = finish.alpha[channel];
      bias_.data()[channel] = finish.bias[channel];
    } else {
      low_.data()[channel] = static_cast<uint32_t>(finish.low[channel]);
      width_.data()[channel] = static_cast<uint32_t>(finish.high[channel]) - low_.data()[channel];
    }
    const uint8_t* row = file + channel * ((k + 7) / 8);
    uint32_t* panel = bits_.data() + channel / lanes * words_ * lanes + channel % lanes;
    for (size_t word = 0; word < words_; ++word) panel[word * lanes] = word_of(row, k, word);
    if (kernel.running) run(panel, words_, lanes);
  }
}

LinearWork PackedWeights::work_of(const uint32_t* activations, size_t rows, size_t first,
                                  size_t last) const {
  const size_t channel = first * kernel_.lanes;
  LinearWork work{};
  work.activations = activations;
  work.weights = bits_.data() + channel * words_;
  work.rows = rows;
  work.panels = last - first;
  work.columns = std::min(n_, last * kernel_.lanes) - channel;
  work.words = words_;
  work.k = static_cast<int32_t>(k_);
  return work;
}

void PackedWeights::multiply(const uint32_t* activations, size_t rows, size_t first, size_t last,
                             float* y) const {
  const size_t channel = first * kernel_.lanes;
  LinearWork work = work_of(activations, rows, first, last);
  work.alpha = alpha_.data() + channel;
  work.bias = bias_.data() + channel;
  work.y = y + channel;
  work.y_stride = n_;
  kernel_.linear(work);
}

void PackedWeights::multiply(const uint32_t* activations, size_t rows, size_t first, size_t last,
                             uint8_t* bits) const {
  const size_t channel = first * kernel_.lanes;
  LinearWork work = work_of(activations, rows, first, last);
  work.low = low_.data() + channel;
  work.width = width_.data() + channel;
  work.bits = bits + channel / 8;
  work.bits_stride = (n_ + 7) / 8;
  linear_bits(kernel_, work);
}

}  // namespace edgepack
