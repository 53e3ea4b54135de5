// Any processor: the bits of a word are counted by adding neighbours, in pairs, nibbles and bytes
// (Warren, Hacker's Delight, 2nd edition, section 5-1).
#include "bit_kernel.h"

namespace edgepack {
namespace {

uint64_t count(uint64_t word) {
  word -= (word >> 1) & 0x5555555555555555ull;
  word = (word & 0x3333333333333333ull) + ((word >> 2) & 0x3333333333333333ull);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
  return (word * 0x0101010101010101ull) >> 56;
}

}  // namespace
}  // namespace edgepack

#include "scalar.inc"

namespace edgepack {

const BitKernel kPortable = {"portable", [](const CpuFeatures&) { return true; }, 1, pack_row, linear,
                              pack_pixels, conv, nullptr};

}  // namespace edgepack
