// cpuid says what the processor has, xgetbv which registers the system saves between threads: wide
// registers may be used only if both agree. (The compiler's own builtin for this answers "no" to
// everything under some toolchains, without a warning.) Bits: Intel's Software Developer's Manual,
// volume 2, CPUID leaves 1 and 7, and volume 1, section 13.3 for the state components of XCR0.
#include "cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace edgepack {
namespace {

#if defined(__x86_64__)
uint64_t xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux gives the 8 KiB of tiles to a process that asks, once for all of its threads (Documentation/arch/x86/
// xstate.rst of its source: arch_prctl with ARCH_REQ_XCOMP_PERM and the number of the state component).
bool tiles_allowed() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  CpuFeatures found;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  found.popcnt = (c >> 23) & 1;
  const bool osxsave = (c >> 27) & 1;
  const bool avx = (c >> 28) & 1;
  if (!osxsave || !avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  const uint64_t saved = xcr0();
  constexpr uint64_t kYmm = 0x6;    // SSE and AVX state
  constexpr uint64_t kZmm = 0xe6;   // and the mask registers and both parts of the ZMM state
  found.avx2 = found.popcnt && ((b >> 5) & 1) && (saved & kYmm) == kYmm;
  const bool avx512 = ((b >> 16) & 1) && ((b >> 30) & 1) && ((b >> 31) & 1);  // F, BW, VL
  const bool vpopcntdq = (c >> 14) & 1;
  found.avx512_vpopcntdq = found.avx2 && avx512 && vpopcntdq && (saved & kZmm) == kZmm;
  constexpr uint64_t kTiles = 0x60000;  // their configuration and their data
  const bool amx = ((d >> 24) & 1) && ((d >> 25) & 1) && ((c >> 8) & 1);  // AMX-TILE, AMX-INT8, GFNI
  found.amx_int8 = found.avx512_vpopcntdq && amx && (saved & kTiles) == kTiles && tiles_allowed();
  return found;
}
#elif defined(__aarch64__) && defined(__linux__)
CpuFeatures detect() {
  constexpr unsigned long kAsimd = 1ul << 1;     // HWCAP_ASIMD of the kernel's asm/hwcap.h
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  const unsigned long has = getauxval(AT_HWCAP);
  CpuFeatures found;
  found.neon = (has & kAsimd) != 0;
  found.neon_dot = found.neon && (has & kAsimdDp) != 0;
  return found;
}
#else
CpuFeatures detect() { return {}; }
#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures found = detect();
  return found;
}

}  // namespace edgepack
