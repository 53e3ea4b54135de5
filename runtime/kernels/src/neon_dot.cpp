// aarch64 with the dot-product instructions (FEAT_DotProd, Armv8.2): UDOT of the counts with ones adds the
// four counts of a lane to its 32-bit sum in one instruction, so nothing overflows and nothing is widened.
//
// 128 products cost EOR, CNT and UDOT: three instructions. The same instructions on +1 and -1 in bytes,
// SDOT with 16 products each, would cost eight, and SMMLA (FEAT_I8MM) with 32 each four.
#include <arm_neon.h>

#include "bit_kernel.h"
#include "cpu_features.h"

namespace edgepack {
namespace {

using Block = uint32x4_t;
constexpr size_t kBlockWords = SIZE_MAX;

inline Block empty() { return vdupq_n_u32(0); }
inline Block added(Block block, uint8x16_t counts) { return vdotq_u32(block, counts, vdupq_n_u8(1)); }
inline uint32x4_t folded(uint32x4_t sum, Block block) { return vaddq_u32(sum, block); }

}  // namespace
}  // namespace edgepack

#include "neon.inc"

namespace edgepack {

const BitKernel kNeonDot = {
    "neon-dot", [](const CpuFeatures& cpu) { return cpu.neon_dot; }, kLanes, pack_row, linear, pack_pixels, conv,
    nullptr};

}  // namespace edgepack
