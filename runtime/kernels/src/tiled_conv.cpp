#include "tiled_conv.h"

#include <algorithm>
#include <cstring>

#include "bit_kernel.h"
#include "tile_bits.h"

namespace edgepack {
namespace {

constexpr size_t kChannelsOfAWord = 4;
// Groups of sixteen positions and panels of a task: many groups where a panel's weights are expanded once for
// them, and more panels otherwise. The sums of one are written while the next is multiplied.
struct Task {
  size_t groups;
  size_t panels;
};
constexpr Task kOfFewSteps = {64, 2};
constexpr Task kOfManySteps = {8, 4};
constexpr size_t kLineWords = 16;      // of a cache line

// Below this many products a call is over before a second thread has begun.
constexpr size_t kWorthThreads = size_t{1} << 24;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

struct TiledConv::Plan {
  ConvPlan at;
  size_t pitch;                 // words from one word of channels to the next
  std::vector<size_t> offsets;  // [steps], in bytes
};

TiledConv::TiledConv(const TileKernel& kernel, const ConvShape& shape, const uint8_t* file,
                     const Finish& finish)
    : kernel_(kernel), shape_(shape), weights_(shape.groups * panels() * steps() * 2 * kTileSide) {
  std::fill_n(weights_.data(), weights_.size(), uint64_t{0});
  const size_t channels = shape.groups * panels() * kTileChannels;
  alpha_.assign(finish.alpha != nullptr ? channels : 0, 0.0f);
  bias_.assign(alpha_.size(), 0.0f);
  low_.assign(finish.low != nullptr ? channels : 0, 0);
  width_.assign(low_.size(), 0);
  const size_t bytes = ceil_div(shape.channels, 8);
  const size_t taps = shape.rows.kernel * shape.columns.kernel;
  for (size_t n = 0; n < shape.outputs; ++n) {
    const size_t in_group = n % outputs();
    const size_t panel = n / outputs() * panels() + in_group / kTileChannels;
    const size_t lane = in_group % kTileChannels;
    const size_t slot = panel * kTileChannels + lane;
    if (finish.alpha != nullptr) {
      alpha_[slot] = finish.alpha[n];
      bias_[slot] = finish.bias[n];
    } else {
      low_[slot] = static_cast<uint32_t>(finish.low[n]);
      width_[slot] = static_cast<uint32_t>(finish.high[n]) - low_[slot];
    }
    for (size_t tap = 0; tap < taps; ++tap) {
      const uint8_t* from = file + (n * taps + tap) * bytes;
      for (size_t i = 0; i < bytes; ++i) {
        // Bits from K on meet activations that are 0.
        const size_t step = tap * blocks() + i / 8;
        weights_.data()[((panel * steps() + step) * kTileChannels) + lane] |= uint64_t{from[i]} << (i % 8 * 8);
      }
    }
  }
  for (size_t i = 0; i < weights_.size(); ++i) weights_.data()[i] = mirrored(weights_.data()[i]);
}

std::shared_ptr<const TiledConv::Plan> TiledConv::plan_for(size_t height, size_t width) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!last_ || last_->at.height != height || last_->at.width != width) {
    auto made = std::make_shared<Plan>(
        Plan{ConvPlan(shape_.rows, shape_.columns, height, width, shape_.channels, 1, 0, {}, false), 0, {}});
    // An odd number of cache lines: the sixteen rows of a tile then lie in different sets of the cache.
    made->pitch = (ceil_div(made->at.word_plane, kLineWords) | 1) * kLineWords;
    for (size_t step = 0; step < steps(); ++step) {
      const size_t word = made->at.offsets[step / blocks()] + step % blocks() * kTileSide * made->pitch;
      made->offsets.push_back(word * sizeof(uint32_t));
    }
    last_ = made;
  }
  return last_;
}

// Rows of an image, four of its channels, to words.
void TiledConv::sign_rows(const TileInput& x, size_t channel, size_t channels, const ConvPlan& at, size_t row,
                          size_t rows, uint32_t* to, size_t pitch) const {
  const size_t pixels = at.height * at.width;
  if (x.bits != nullptr) {
    const uint8_t* from = x.bits + channel / 8 * pixels + row * at.width;
    return kernel_.expand_pixels({from, static_cast<unsigned>(channel % 8), channels, at.width, rows, to, pitch});
  }
  kernel_.sign_pixels({x.numbers + channel * pixels + row * at.width, pixels, channels,
                       x.threshold != nullptr ? x.threshold + channel : nullptr, at.width, rows, to, pitch});
}

// One word of channels of one sample, with the zeros around it. `line` has room for a row of the image
// where the columns have a stride.
void TiledConv::sign_plane(const Plan& plan, const TileInput& x, size_t group, size_t word, uint32_t* line,
                           uint32_t* to) const {
  const ConvPlan& at = plan.at;
  std::memset(to, 0, plan.pitch * sizeof *to);
  const size_t in_group = word * kChannelsOfAWord;
  if (in_group >= shape_.channels) return;
  const size_t channel = group * shape_.channels + in_group;
  const size_t channels = std::min(kChannelsOfAWord, shape_.channels - in_group);
  if (at.row_stride == 1 && at.column_stride == 1) {
    uint32_t* first = to + shape_.rows.before * at.plane_width + shape_.columns.before;
    return sign_rows(x, channel, channels, at, 0, at.height, first, at.plane_width);
  }
  for (size_t y = 0; y < at.height; ++y) {
    sign_rows(x, channel, channels, at, y, 1, line, 0);
    const size_t row = y + shape_.rows.before;
    uint32_t* plane = to + row % at.row_stride * at.column_stride * at.plane +
                      row / at.row_stride * at.plane_width;
    for (size_t i = 0; i < at.width; ++i) {
      const size_t column = i + shape_.columns.before;
      plane[column % at.column_stride * at.plane + column / at.column_stride] = line[i];
    }
  }
}

void TiledConv::convolve(const OrtApi* api, OrtKernelContext* context, const TileInput& x, size_t batch,
                         size_t height, size_t width, const TileOutput& y) const {
  const std::shared_ptr<const Plan> plan = plan_for(height, width);
  const ConvPlan& at = plan->at;
  const size_t planes = shape_.groups * words();
  const size_t sample = planes * plan->pitch;
  const size_t channels = shape_.channels * shape_.groups;
  const size_t image = height * width * (x.bits != nullptr ? ceil_div(channels, 8) : channels);
  const size_t out_planes = y.bits != nullptr ? ceil_div(shape_.outputs, 8) : shape_.outputs;
  const size_t pixels = at.out_height * at.out_width;
  const bool adjacent = at.row_stride == 1 && at.column_stride == 1;
  // The signs live for this call only: calls of one session may overlap. The last tile may reach over the end.
  Buffer<uint32_t> signs(batch * sample + kLineWords);
  std::memset(signs.data() + batch * sample, 0, kLineWords * sizeof(uint32_t));
  Buffer<uint32_t> lines(adjacent ? 0 : batch * planes * width);
  const auto sign_one = [&](size_t task) {
    const size_t b = task / planes;
    const size_t plane = task % planes;
    const TileInput sample_x = x.bits != nullptr ? TileInput{nullptr, nullptr, x.bits + b * image}
                                                 : TileInput{x.numbers + b * image, x.threshold, nullptr};
    sign_plane(*plan, sample_x, plane / words(), plane % words(),
               lines.data() + (adjacent ? 0 : task * width), signs.data() + task * plan->pitch);
  };
  const Task of_a_task = steps() <= kTileStepsKept ? kOfFewSteps : kOfManySteps;
  const size_t blocks_of_panels = ceil_div(panels(), of_a_task.panels);  // of a group
  const size_t chunks = ceil_div(at.groups, of_a_task.groups);
  const auto multiply_one = [&](size_t task) {
    const size_t chunk = task % chunks * of_a_task.groups;
    const size_t block = task / chunks % blocks_of_panels * of_a_task.panels;
    const size_t group = task / chunks / blocks_of_panels % shape_.groups;
    const size_t b = task / chunks / blocks_of_panels / shape_.groups;
    const size_t panel = group * panels() + block;
    const size_t channel = block * kTileChannels;
    const uint32_t* from = signs.data() + b * sample + group * words() * plan->pitch + chunk * kPositions;
    TileWork work{};
    work.activations = reinterpret_cast<const int8_t*>(from);
    work.group_bytes = kPositions * sizeof(uint32_t);
    work.stride = plan->pitch * sizeof(uint32_t);
    work.offsets = plan->offsets.data();
    work.steps = steps();
    work.groups = std::min(of_a_task.groups, at.groups - chunk);
    work.weights = weights_.data() + panel * steps() * kTileChannels;
    work.channels = std::min(of_a_task.panels * kTileChannels, outputs() - channel);
    const size_t output = group * outputs() + channel;
    if (y.bits != nullptr) {  // each group begins with a byte
      work.low = low_.data() + panel * kTileChannels;
      work.width = width_.data() + panel * kTileChannels;
      work.bits = y.bits + (b * out_planes + output / 8) * pixels;
      work.bits_stride = pixels;
    } else {
      work.alpha = alpha_.data() + panel * kTileChannels;
      work.bias = bias_.data() + panel * kTileChannels;
      work.y = y.numbers + (b * out_planes + output) * pixels;
      work.y_stride = pixels;
    }
    work.stored = at.stored.data() + chunk;
    work.starts = at.starts.data() + chunk;
    kernel_.conv(work);
  };
  const size_t tasks = batch * shape_.groups * blocks_of_panels * chunks;
  if (batch * shape_.groups * panels() * at.groups * kPositions * kTileChannels * steps() * kTileTerms <
      kWorthThreads) {
    for (size_t task = 0; task < batch * planes; ++task) sign_one(task);
    kernel_.begin();
    for (size_t task = 0; task < tasks; ++task) multiply_one(task);
    kernel_.end();
    return;
  }
  ort::parallel_for(api, context, batch * planes, sign_one);
  ort::parallel_for(api, context, tasks, [&](size_t task) {
    kernel_.begin();
    multiply_one(task);
    kernel_.end();
  });
}

}  // namespace edgepack
