// The kernels for x86-64 with AVX-512 and VPOPCNTDQ, without tiles and with them.
#include "avx512.h"

#include "cpu_features.h"
#include "tile_kernel.h"

namespace edgepack {

const BitKernel kAvx512 = {"avx512",
                           [](const CpuFeatures& cpu) { return cpu.avx512_vpopcntdq; },
                           avx512::kLanes,
                           avx512::pack_row,
                           avx512::linear,
                           avx512::pack_pixels,
                           avx512::conv,
                           avx512::linear_bits,
                           avx512::conv_bits,
                           nullptr,
                           true,
                           true,
                           avx512::kConvPanels};

// Counts where the tiles are not worth their while, or where what they need is not given.
const BitKernel kAmx = {"amx",
                        [](const CpuFeatures& cpu) { return cpu.amx_int8 && cpu.avx512_vpopcntdq; },
                        avx512::kLanes,
                        avx512::pack_row,
                        avx512::linear,
                        avx512::pack_pixels,
                        avx512::conv,
                        avx512::linear_bits,
                        avx512::conv_bits,
                        &kAmxTiles,
                        true,
                        true,
                        avx512::kConvPanels};

}  // namespace edgepack
