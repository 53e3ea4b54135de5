// Where the bits of a convolution lie, for one size of image, and what its borders take away.
//
// An image is stored with its padding, one 32-bit word of channels a pixel, and split by the strides:
// pixel (y, x) of the padded image stands in plane (y mod sy, x mod sx) at (y div sy, x div sx). In this
// order the pixels that a tap meets on its way over the image are adjacent. With Q the length of a row
// of a plane, the output pixel (i, j) has the position i Q + j, and tap (a, b) meets there, in the plane
// (a dy mod sy, b dx mod sx), the word i Q + j + (a dy div sy) Q + b dx div sx.
//
// Kernels that take pixels (BitKernel::pixels) skip the positions that are none: their position of the pixel (i, j) is
// i W + j, with W the output's width, and the word's place is the same.
//
// Padding is zero, which a bit cannot be: its bits are 0, for +1, and what they add is taken away again.
// With C channels of a group, V the taps that meet the image and P the bits that differ, padding included,
//
//     sum = C |V| + 2 sum over the other taps of popcount(w_tap) - 2 P
//
// All but the last term depends on V alone, which is the same for all of the inner image and different
// for a few classes of pixels along its border.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepack {

// One direction: rows or columns.
struct ConvAxis {
  size_t kernel;
  size_t stride;
  size_t dilation;
  size_t before;  // padding
  size_t after;
};

struct ConvPlan {
  // `pops` is popcount(w) of [n, taps of the kernel]; `channels` are those of a group. The image with its
  // padding is at least as large as the kernel. `pixels`: positions are pixels.
  ConvPlan(const ConvAxis& rows, const ConvAxis& columns, size_t height, size_t width, size_t channels,
           size_t words, size_t n, const std::vector<int32_t>& pops, bool pixels);

  size_t height, width;              // of the image
  size_t out_height, out_width;      // of the output
  size_t row_stride, column_stride;  // as given, or less where that is the same
  size_t plane_width;                // Q
  size_t plane;                      // words of a plane
  size_t word_plane;                 // words of all planes of one word of channels
  size_t groups;                     // of sixteen positions
  std::vector<size_t> offsets;       // [taps of the kernel, words]
  std::vector<int32_t> classes;      // [groups * 16]
  std::vector<uint16_t> stored;      // [groups]
  std::vector<size_t> starts;        // [groups]
  size_t class_stride;
  std::vector<int32_t> sums;         // [n rounded up to eight, class_stride]
};

}  // namespace edgepack
