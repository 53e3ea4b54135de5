// aarch64 with NEON: VCNT counts the bits of each byte. Counts stay in bytes for up to 31 words, which hold
// at most 31 * 8 = 248, and are then added in pairs, twice, to one 32-bit number a lane.
#include <arm_neon.h>

#include "bit_kernel.h"
#include "cpu_features.h"

namespace edgepack {
namespace {

using Block = uint8x16_t;
constexpr size_t kBlockWords = 31;

inline Block empty() { return vdupq_n_u8(0); }
inline Block added(Block block, uint8x16_t counts) { return vaddq_u8(block, counts); }
inline uint32x4_t folded(uint32x4_t sum, Block block) {
  return vaddq_u32(sum, vpaddlq_u16(vpaddlq_u8(block)));
}

}  // namespace
}  // namespace edgepack

#include "neon.inc"

namespace edgepack {

const BitKernel kNeon = {"neon", [](const CpuFeatures& cpu) { return cpu.neon; }, kLanes, pack_row, linear,
                         pack_pixels, conv, nullptr};

}  // namespace edgepack
