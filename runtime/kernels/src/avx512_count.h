// How bits that differ are counted with AVX-512 and VPOPCNTDQ: sixteen words a vector, VPOPCNTD counts each one's.
//
// Words that differ are added up by their parity and what it carries. With d_i = a_i XOR w_i, the parity of the words
// up to i is the XOR of two running XORs, one of activations and one of weights, which are made before:
//
//     p_i = d_1 XOR ... XOR d_i = (a_1 XOR ... XOR a_i) XOR (w_1 XOR ... XOR w_i)
//
// A full adder of p, d_1 and d_2 gives the parity p_2 and the carry, the majority of its inputs; with d_1 = p XOR p_1
// and d_2 = p_1 XOR p_2 that is a function of the three parities, one VPTERNLOGD. Every bit of a carry counts two:
//
//     P = 2 sum of popcount(carries) + popcount(the last parity)
//
// So two words take two XOR, VPTERNLOGD, VPOPCNTD and ADD, five operations for 1024 products, where counting each word
// takes six: on two ports 410 products a cycle are the limit of this kernel, and 341 of one that counts words.
//
// A register tile has eight sums and eight parities.
#pragma once

#include <immintrin.h>

namespace edgepack {
namespace {  // a copy for each file: none may be shared with files for other processors

// Bits that differ in the words so far.
struct Count {
  __m512i carries = _mm512_setzero_si512();
  __m512i parity = _mm512_setzero_si512();
};

constexpr int kMajority = 0x74;  // of p, p XOR p1 and p1 XOR p2: bit 4 p + 2 p1 + p2 of the table

// The next two words, as parities of all words up to each.
inline void add_two(Count& count, __m512i first, __m512i second) {
  const __m512i carry = _mm512_ternarylogic_epi32(count.parity, first, second, kMajority);
  count.carries = _mm512_add_epi32(count.carries, _mm512_popcnt_epi32(carry));
  count.parity = second;
}

// A word alone.
inline void add_one(Count& count, __m512i word) { add_two(count, word, word); }

inline __m512i differing(const Count& count) {
  return _mm512_add_epi32(_mm512_slli_epi32(count.carries, 1), _mm512_popcnt_epi32(count.parity));
}

}  // namespace
}  // namespace edgepack
