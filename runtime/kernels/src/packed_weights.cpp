#include "packed_weights.h"

#include <algorithm>

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

PackedWeights::PackedWeights(const BitKernel& kernel, size_t n, size_t k, const uint8_t* file,
                             const float* alpha, const float* bias)
    : kernel_(kernel),
      n_(n),
      k_(k),
      words_(words_of(k)),
      panels_((n + kernel.lanes - 1) / kernel.lanes),
      bits_(panels_ * kernel.lanes * words_),
      alpha_(panels_ * kernel.lanes),
      bias_(panels_ * kernel.lanes) {
  const size_t lanes = kernel.lanes;
  std::fill_n(bits_.data(), bits_.size(), 0u);
  std::fill_n(alpha_.data(), alpha_.size(), 0.0f);
  std::fill_n(bias_.data(), bias_.size(), 0.0f);
  std::copy_n(alpha, n, alpha_.data());
  std::copy_n(bias, n, bias_.data());
  for (size_t channel = 0; channel < n; ++channel) {
    const uint8_t* row = file + channel * ((k + 7) / 8);
    uint32_t* panel = bits_.data() + channel / lanes * words_ * lanes + channel % lanes;
    for (size_t word = 0; word < words_; ++word) panel[word * lanes] = word_of(row, k, word);
  }
}

void PackedWeights::multiply(const uint32_t* activations, size_t rows, size_t first, size_t last,
                             float* y) const {
  const size_t channel = first * kernel_.lanes;
  LinearWork work{};
  work.activations = activations;
  work.weights = bits_.data() + channel * words_;
  work.alpha = alpha_.data() + channel;
  work.bias = bias_.data() + channel;
  work.y = y + channel;
  work.rows = rows;
  work.panels = last - first;
  work.columns = std::min(n_, last * kernel_.lanes) - channel;
  work.words = words_;
  work.y_stride = n_;
  work.k = static_cast<int32_t>(k_);
  kernel_.linear(work);
}

}  // namespace edgepack
