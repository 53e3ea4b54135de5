#pragma once

// Loops over a register tile. By itself GCC unrolls them only after it has decided that an array indexed by a variable
// lives in memory: the sums of a tile would be stored and loaded again around its loop.
#if defined(__GNUC__) && !defined(__clang__)
#define EDGEPACK_UNROLL _Pragma("GCC unroll 8")
#define EDGEPACK_UNROLL_TWICE _Pragma("GCC unroll 2")
#else
#define EDGEPACK_UNROLL
#define EDGEPACK_UNROLL_TWICE
#endif
