// Bits out of kernels that only give numbers: sums, which float32 holds exactly, are computed a part at a
// time, and compared with the interval of each channel.
#pragma once

#include "bit_kernel.h"

namespace edgepack {

// kernel.linear_bits(work), or what it would do.
void linear_bits(const BitKernel& kernel, const LinearWork& work);

// kernel.conv_bits(work), or what it would do.
void conv_bits(const BitKernel& kernel, const ConvWork& work);

}  // namespace edgepack
