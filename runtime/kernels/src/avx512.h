// The parts of the kernels for AVX-512 with VPOPCNTDQ; what they do stands in bit_kernel.h.
#pragma once

#include "bit_kernel.h"

namespace edgepack::avx512 {

inline constexpr size_t kLanes = 16;
inline constexpr size_t kConvPanels = 8;

void pack_row(const float* x, const float* threshold, size_t k, uint32_t* bits);
void linear(const LinearWork& work);
void linear_bits(const LinearWork& work);

void pack_pixels(const float* x, size_t plane, size_t channels, const float* threshold, size_t pixels, uint32_t* bits);
void conv(const ConvWork& work);
void conv_bits(const ConvWork& work);

}  // namespace edgepack::avx512
