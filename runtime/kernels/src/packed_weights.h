// Weights of a binary linear layer in the layout of the kernel that will run, made once a session.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bit_kernel.h"
#include "buffer.h"

namespace edgepack {

inline size_t words_of(size_t k) { return (k + kBitsPerWordPair - 1) / kBitsPerWordPair * 2; }

// A row of `k` bits in bytes as words: what lies beyond k is 0.
void words_of_bytes(const uint8_t* row, size_t k, uint32_t* words);

// Words of a row, `stride` apart, to their running XOR (BitKernel::running).
void run(uint32_t* words, size_t count, size_t stride = 1);

// What becomes of the sums, by channel: numbers by alpha and bias, or bits by an interval (bit_kernel.h).
// Two of the four are null.
struct Finish {
  const float* alpha = nullptr;
  const float* bias = nullptr;
  const int32_t* low = nullptr;
  const int32_t* high = nullptr;
};

class PackedWeights {
 public:
  // `file` is uint8 [n, ceil(k / 8)], least significant bit first, as the model file has it; bits of
  // a row's last byte from k on are ignored. What is not null of `finish` is [n].
  PackedWeights(const BitKernel& kernel, size_t n, size_t k, const uint8_t* file, const Finish& finish);

  size_t channels() const { return n_; }
  size_t panels() const { return panels_; }

  // y [rows, n] of rows of activation bits, for the panels from `first` to before `last`. `y` is the
  // whole matrix's first element.
  void multiply(const uint32_t* activations, size_t rows, size_t first, size_t last, float* y) const;

  // The same as bits, uint8 [rows, ceil(n / 8)]; the first panel's first channel is a multiple of eight.
  void multiply(const uint32_t* activations, size_t rows, size_t first, size_t last, uint8_t* bits) const;

 private:
  LinearWork work_of(const uint32_t* activations, size_t rows, size_t first, size_t last) const;

  const BitKernel& kernel_;
  size_t n_;
  size_t k_;
  size_t words_;
  size_t panels_;
  Buffer<uint32_t> bits_;
  Buffer<float> alpha_;
  Buffer<float> bias_;
  Buffer<uint32_t> low_;
  Buffer<uint32_t> width_;
};

}  // namespace edgepack
