// x86-64 with POPCNT: one instruction counts 64 bits.
#include "bit_kernel.h"
#include "cpu_features.h"

namespace edgepack {
namespace {

uint64_t count(uint64_t word) { return static_cast<uint64_t>(__builtin_popcountll(word)); }

}  // namespace
}  // namespace edgepack

#include "scalar.inc"

namespace edgepack {

const BitKernel kPopcnt = {
    "popcnt", [](const CpuFeatures& cpu) { return cpu.popcnt; }, 1, pack_row, linear,
                              pack_pixels, conv, nullptr};

}  // namespace edgepack
