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

// Products of +-1 by XOR, VPOPCNTD and ADD of 512 bits, 16 sums in flight, no memory.
extern "C" double popcount_products(size_t rounds) {
  __m512i sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i bits = _mm512_set1_epi32(0x55aa1234);
  const double begin = seconds();
  for (size_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < 16; ++i) {
      __m512i differing;
      __asm__ volatile("vpxord %1, %1, %0\n\tvpopcntd %0, %0" : "=&v"(differing) : "v"(bits));
      __asm__ volatile("vpaddd %1, %0, %0" : "+v"(sums[i]) : "v"(differing));
    }
  }
  return static_cast<double>(rounds) * 16 * 512 / (seconds() - begin);
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
