// What this core can do at most, for the roofline: one loop for each limit, in units a second of process time.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

static double seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
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
