// The order in which TileKernel takes the bits of weights.
#pragma once

#include <cstdint>

namespace edgepack {

// Bit 8 i + j of what comes out is bit 8 j + i of what goes in: a square of 8 by 8 bits, mirrored. An affine map
// that takes bit j of each of eight bytes then gives eight bytes that lie one behind the other.
inline uint64_t mirrored(uint64_t bits) {
  uint64_t result = 0;
  for (unsigned i = 0; i < 8; ++i) {
    for (unsigned j = 0; j < 8; ++j) result |= (bits >> (8 * j + i) & 1u) << (8 * i + j);
  }
  return result;
}

}  // namespace edgepack
