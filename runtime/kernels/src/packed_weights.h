// Weights of a binary linear layer in the layout of the kernel that will run, made once a session.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bit_kernel.h"
#include "buffer.h"

namespace edgepack {

inline size_t words_of(size_t k) { return (k + kBitsPerWordPair - 1) / kBitsPerWordPair * 2; }

class PackedWeights {
 public:
  // `file` is uint8 [n, ceil(k / 8)], least significant bit first, as the model file has it; bits of
  // a row's last byte from k on are ignored. `alpha` and `bias` are float32 [n].
  PackedWeights(const BitKernel& kernel, size_t n, size_t k, const uint8_t* file, const float* alpha,
                const float* bias);

  size_t channels() const { return n_; }
  size_t panels() const { return panels_; }

  // y [rows, n] of rows of activation bits, for the panels from `first` to before `last`. `y` is the
  // whole matrix's first element.
  void multiply(const uint32_t* activations, size_t rows, size_t first, size_t last, float* y) const;

 private:
  const BitKernel& kernel_;
  size_t n_;
  size_t k_;
  size_t words_;
  size_t panels_;
  Buffer<uint32_t> bits_;
  Buffer<float> alpha_;
  Buffer<float> bias_;
};

}  // namespace edgepack
