#include "tiled_conv.h"

#include <algorithm>
#include <cstring>

#include "bit_kernel.h"

namespace edgepack {
namespace {

constexpr size_t kChannelsOfAWord = 4;
constexpr size_t kGroupsOfATask = 64;  // of sixteen positions
constexpr size_t kPanelsOfATask = 2;   // the sums of one are written while the next is multiplied
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
                     const float* alpha, const float* bias)
    : kernel_(kernel), shape_(shape), weights_(shape.groups * panels() * steps() * 2 * kTileSide) {
  std::fill_n(weights_.data(), weights_.size(), uint64_t{0});
  alpha_.assign(shape.groups * panels() * kTileChannels, 0.0f);
  bias_.assign(alpha_.size(), 0.0f);
  const size_t bytes = ceil_div(shape.channels, 8);
  const size_t taps = shape.rows.kernel * shape.columns.kernel;
  for (size_t n = 0; n < shape.outputs; ++n) {
    const size_t in_group = n % outputs();
    const size_t panel = n / outputs() * panels() + in_group / kTileChannels;
    const size_t lane = in_group % kTileChannels;
    alpha_[panel * kTileChannels + lane] = alpha[n];
    bias_[panel * kTileChannels + lane] = bias[n];
    for (size_t tap = 0; tap < taps; ++tap) {
      const uint8_t* from = file + (n * taps + tap) * bytes;
      for (size_t i = 0; i < bytes; ++i) {
        // Bits from K on meet activations that are 0.
        const size_t step = tap * blocks() + i / 8;
        weights_.data()[((panel * steps() + step) * kTileChannels) + lane] |= uint64_t{from[i]} << (i % 8 * 8);
      }
    }
  }
}

std::shared_ptr<const TiledConv::Plan> TiledConv::plan_for(size_t height, size_t width) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!last_ || last_->at.height != height || last_->at.width != width) {
    auto made = std::make_shared<Plan>(
        Plan{ConvPlan(shape_.rows, shape_.columns, height, width, shape_.channels, 1, 0, {}), 0, {}});
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

// One word of channels of one sample, with the zeros around it. `line` has room for a row of the image
// where the columns have a stride.
void TiledConv::sign_plane(const Plan& plan, const float* x, const float* threshold, size_t group, size_t word,
                           uint32_t* line, uint32_t* to) const {
  const ConvPlan& at = plan.at;
  std::memset(to, 0, plan.pitch * sizeof *to);
  const size_t channel = word * kChannelsOfAWord;
  if (channel >= shape_.channels) return;
  const size_t first = group * shape_.channels + channel;
  const size_t pixels = at.height * at.width;
  TileSigns work{x + first * pixels,
                 pixels,
                 std::min(kChannelsOfAWord, shape_.channels - channel),
                 threshold != nullptr ? threshold + first : nullptr,
                 at.width,
                 at.height,
                 to + shape_.rows.before * at.plane_width + shape_.columns.before,
                 at.plane_width};
  if (at.row_stride == 1 && at.column_stride == 1) return kernel_.sign_pixels(work);
  work.rows = 1;
  work.words = line;
  for (size_t y = 0; y < at.height; ++y, work.x += at.width) {
    kernel_.sign_pixels(work);
    const size_t row = y + shape_.rows.before;
    uint32_t* plane = to + row % at.row_stride * at.column_stride * at.plane +
                      row / at.row_stride * at.plane_width;
    for (size_t i = 0; i < at.width; ++i) {
      const size_t column = i + shape_.columns.before;
      plane[column % at.column_stride * at.plane + column / at.column_stride] = line[i];
    }
  }
}

void TiledConv::convolve(const OrtApi* api, OrtKernelContext* context, const float* x, const float* threshold,
                         size_t batch, size_t height, size_t width, float* y) const {
  const std::shared_ptr<const Plan> plan = plan_for(height, width);
  const ConvPlan& at = plan->at;
  const size_t planes = shape_.groups * words();
  const size_t sample = planes * plan->pitch;
  const size_t image = height * width * shape_.channels * shape_.groups;
  const size_t pixels = at.out_height * at.out_width;
  const bool adjacent = at.row_stride == 1 && at.column_stride == 1;
  // The signs live for this call only: calls of one session may overlap. The last tile may reach over the end.
  Buffer<uint32_t> signs(batch * sample + kLineWords);
  std::memset(signs.data() + batch * sample, 0, kLineWords * sizeof(uint32_t));
  Buffer<uint32_t> lines(adjacent ? 0 : batch * planes * width);
  const auto sign_one = [&](size_t task) {
    const size_t b = task / planes;
    const size_t plane = task % planes;
    sign_plane(*plan, x + b * image, threshold, plane / words(), plane % words(),
               lines.data() + (adjacent ? 0 : task * width), signs.data() + task * plan->pitch);
  };
  const size_t blocks_of_panels = ceil_div(panels(), kPanelsOfATask);  // of a group
  const size_t chunks = ceil_div(at.groups, kGroupsOfATask);
  const auto multiply_one = [&](size_t task) {
    const size_t chunk = task % chunks * kGroupsOfATask;
    const size_t block = task / chunks % blocks_of_panels * kPanelsOfATask;
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
    work.groups = std::min(kGroupsOfATask, at.groups - chunk);
    work.weights = weights_.data() + panel * steps() * kTileChannels;
    work.alpha = alpha_.data() + panel * kTileChannels;
    work.bias = bias_.data() + panel * kTileChannels;
    work.channels = std::min(kPanelsOfATask * kTileChannels, outputs() - channel);
    work.y = y + (b * shape_.outputs + group * outputs() + channel) * pixels;
    work.y_stride = pixels;
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
