// What this core can do at most, for the roofline: one loop for each limit, in units a second of the thread's time.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Two words of one sum, as runtime/kernels/src/avx512_count.h says: their parities by XOR, of two registers that differ
// (with itself a register would cost nothing), the carry in the place of the parity before, VPOPCNTD and ADD.
#define COUNT(sum, before, first, second)                          \
  "vpxord %%zmm30, %%zmm31, %%zmm" first "\n\t"                    \
  "vpxord %%zmm29, %%zmm31, %%zmm" second "\n\t"                   \
  "vpternlogd $0x74, %%zmm" second ", %%zmm" first ", %%zmm" before "\n\t" \
  "vpopcntd %%zmm" before ", %%zmm" before "\n\t"                  \
  "vpaddd %%zmm" before ", %%zmm" sum ", %%zmm" sum "\n\t"

// Products of +-1 by parities and carries of 512 bits, eight sums in flight. The registers are named: left to a compiler
// the sums might be in memory, and the loop would measure that.
extern "C" double popcount_products(size_t rounds) {
  size_t left = rounds;
  const double begin = seconds();
  __asm__ volatile(
      "1:\n\t"
      COUNT("0", "8", "24", "16") COUNT("1", "9", "25", "17") COUNT("2", "10", "26", "18") COUNT("3", "11", "27", "19")
      COUNT("4", "12", "24", "20") COUNT("5", "13", "25", "21") COUNT("6", "14", "26", "22") COUNT("7", "15", "27", "23")
      COUNT("0", "16", "24", "8") COUNT("1", "17", "25", "9") COUNT("2", "18", "26", "10") COUNT("3", "19", "27", "11")
      COUNT("4", "20", "24", "12") COUNT("5", "21", "25", "13") COUNT("6", "22", "26", "14") COUNT("7", "23", "27", "15")
      "dec %0\n\tjnz 1b"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
        "xmm25", "xmm26", "xmm27");
  return static_cast<double>(rounds) * 16 * 1024 / (seconds() - begin);
}

// Bytes read a second from `data`, over and over.
extern "C" double bytes_read(const uint8_t* data, size_t size, size_t rounds) {
  const double begin = seconds();
  for (size_t round = 0; round < rounds; ++round) {
    for (size_t at = 0; at + 512 <= size; at += 512) {
      for (size_t i = 0; i < 512; i += 64) {
        __asm__ volatile("vmovdqu64 (%0), %%zmm0" : : "r"(data + at + i) : "xmm0");
      }
    }
  }
  return static_cast<double>(rounds) * static_cast<double>(size / 512 * 512) / (seconds() - begin);
}

struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Products of signed bytes by AMX as a kernel makes them, four tiles loaded from the first cache for four
// products of 16 by 16 by 64; 0 where the system gives no leave (arch_prctl, ARCH_REQ_XCOMP_PERM).
extern "C" double tile_products(size_t rounds) {
  alignas(64) static const int8_t tiles[4 * 1024] = {};
  static const TileConfiguration all;
  if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 0;
  __asm__ volatile("ldtilecfg %0" : : "m"(all));
  const double begin = seconds();
  for (size_t round = 0; round < rounds; ++round) {
    __asm__ volatile(
        "tileloadd (%0,%1,1), %%tmm6\n\ttileloadd 1024(%0,%1,1), %%tmm4\n\ttdpbssd %%tmm6, %%tmm4, %%tmm0\n\t"
        "tileloadd 2048(%0,%1,1), %%tmm7\n\ttdpbssd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tileloadd 3072(%0,%1,1), %%tmm5\n\ttdpbssd %%tmm6, %%tmm5, %%tmm2\n\ttdpbssd %%tmm7, %%tmm5, %%tmm3"
        : : "r"(tiles), "r"(size_t{64}) : "memory");
  }
  const double took = seconds() - begin;
  __asm__ volatile("tilerelease");
  return static_cast<double>(rounds) * 4 * 16 * 16 * 64 / took;
}
