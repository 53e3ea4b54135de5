#include "conv_plan.h"

#include <algorithm>
#include <map>

#include "bit_kernel.h"

namespace edgepack {
namespace {

// The kernel's extent with its dilation.
size_t extent(const ConvAxis& axis) { return axis.dilation * (axis.kernel - 1) + 1; }

// For each output row (or column) the class of taps that meet the image, and the taps of each class.
struct Classes {
  std::vector<size_t> of;
  std::vector<std::vector<bool>> taps;
};

Classes classes_of(const ConvAxis& axis, size_t stride, size_t size, size_t outputs) {
  Classes found;
  std::map<std::vector<bool>, size_t> known;
  for (size_t i = 0; i < outputs; ++i) {
    std::vector<bool> meets(axis.kernel);
    for (size_t tap = 0; tap < axis.kernel; ++tap) {
      const size_t at = i * stride + tap * axis.dilation;
      meets[tap] = at >= axis.before && at < axis.before + size;
    }
    const auto [entry, is_new] = known.emplace(meets, known.size());
    if (is_new) found.taps.push_back(meets);
    found.of.push_back(entry->second);
  }
  return found;
}

}  // namespace

ConvPlan::ConvPlan(const ConvAxis& rows, const ConvAxis& columns, size_t given_height, size_t given_width,
                   size_t channels, size_t words, size_t n, const std::vector<int32_t>& pops, bool pixels)
    : height(given_height), width(given_width) {
  const size_t padded_height = height + rows.before + rows.after;
  const size_t padded_width = width + columns.before + columns.after;
  // A stride past the end gives one output, as the first stride past the end does.
  row_stride = std::min(rows.stride, padded_height - extent(rows) + 1);
  column_stride = std::min(columns.stride, padded_width - extent(columns) + 1);
  out_height = (padded_height - extent(rows)) / row_stride + 1;
  out_width = (padded_width - extent(columns)) / column_stride + 1;
  plane_width = (padded_width + column_stride - 1) / column_stride;
  plane = (padded_height + row_stride - 1) / row_stride * plane_width;
  word_plane = plane * row_stride * column_stride;
  for (size_t a = 0; a < rows.kernel; ++a) {
    const size_t y = a * rows.dilation;
    for (size_t b = 0; b < columns.kernel; ++b) {
      const size_t x = b * columns.dilation;
      const size_t phase = y % row_stride * column_stride + x % column_stride;
      const size_t at = phase * plane + y / row_stride * plane_width + x / column_stride;
      for (size_t word = 0; word < words; ++word) offsets.push_back(word * word_plane + at);
    }
  }

  const Classes row_classes = classes_of(rows, row_stride, height, out_height);
  const Classes column_classes = classes_of(columns, column_stride, width, out_width);
  const size_t across = column_classes.taps.size();
  const size_t line = pixels ? out_width : plane_width;  // positions from row to row
  groups = ((out_height - 1) * line + out_width + kPositions - 1) / kPositions;
  classes.assign(groups * kPositions, 0);
  stored.assign(groups, 0);
  starts.assign(groups, 0);
  for (size_t i = out_height; i-- > 0;) {
    for (size_t j = out_width; j-- > 0;) {
      const size_t position = i * line + j;
      classes[position] = static_cast<int32_t>(row_classes.of[i] * across + column_classes.of[j]);
      stored[position / kPositions] |= static_cast<uint16_t>(1u << (position % kPositions));
      starts[position / kPositions] = i * out_width + j;  // the first one is written last
    }
  }

  const size_t count = row_classes.taps.size() * across;
  class_stride = std::max(count, kPositions);
  const size_t taps = rows.kernel * columns.kernel;
  sums.assign((n + kConvChannels - 1) / kConvChannels * kConvChannels * class_stride, 0);
  for (size_t c = 0; c < n; ++c) {
    for (size_t k = 0; k < count; ++k) {
      const std::vector<bool>& down = row_classes.taps[k / across];
      const std::vector<bool>& right = column_classes.taps[k % across];
      int32_t sum = 0;
      for (size_t tap = 0; tap < taps; ++tap) {
        const bool meets = down[tap / columns.kernel] && right[tap % columns.kernel];
        sum += meets ? static_cast<int32_t>(channels) : 2 * pops[c * taps + tap];
      }
      sums[c * class_stride + k] = sum;
    }
  }
}

}  // namespace edgepack
