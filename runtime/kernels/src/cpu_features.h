// Which instructions this processor has and this system lets programs use.
#pragma once

namespace edgepack {

struct CpuFeatures {
  bool popcnt = false;
  bool avx2 = false;
  bool avx512_vpopcntdq = false;  // with the foundation (F), BW and VL
  bool amx_int8 = false;          // with AVX-512 BW and GFNI, and with leave to use the tiles
  bool neon = false;
  bool neon_dot = false;
};

// Asked once; the same answer ever after.
const CpuFeatures& cpu_features();

}  // namespace edgepack
