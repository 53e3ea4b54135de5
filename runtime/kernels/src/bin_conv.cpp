// edgepack::BinConv, version 1: a convolution in two dimensions whose weights and activations are +1 or -1.
//
//     y[b, n, i, j] = alpha[n] * sum_{c, a, d} s[b, g K + c, i sy + a dy - top, j sx + d dx - left] w[n, a, d, c]
//                     + bias[n]
//
// where s is sign(x + shift) inside the image and 0 around it, and g is the group of channel n.
//
//   x         float32 [B, C, H, W]
//   weights   uint8 [N, kh, kw, ceil(K / 8)], channels least significant bit first, bit 1 is -1; a constant
//   alpha     float32 [N], constant
//   bias      float32 [N], constant
//   shift     float32 [C] or [1], constant, optional; no NaN
//   K         attribute: channels of a group, C / group
//   group     attribute: a divisor of N
//   strides   attribute: of rows and columns
//   dilations attribute: of rows and columns
//   pads      attribute: top, left, bottom, right
//
// In a chain of layers bits go from one to the next, with what stands between the layers folded into an interval
// of sums a channel, as in bin_linear.cpp:
//
//   BinConvPack(x, weights, low, high, shift)   x as above, y uint8 [B, ceil(N / 8), ...]
//   BinConvBits(x, weights, low, high)          x uint8 [B, ceil(C / 8), H, W], y as BinConvPack's
//   BinConvUnpack(x, weights, alpha, bias)      x uint8 [B, ceil(C / 8), H, W], y float32 as above
//
// A byte is eight channels of one pixel, and the bytes of one eight of channels are an image: eight channels of
// adjacent pixels are what the kernels compute together. With several groups each begins with a byte, so that K is a
// multiple of eight where bits come in, and N / group where they come out. Around an image of bits, too, is 0.
//
// Signs, exactness and roundings are BinLinear's; K kh kw is at most 2^24.
#include "bin_conv.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>

#include "bits_from_sums.h"
#include "buffer.h"
#include "choose.h"
#include "conv_plan.h"
#include "faster.h"
#include "layer_operator.h"
#include "tiled_conv.h"

namespace edgepack {
namespace {

constexpr size_t kLargestSum = size_t{1} << 24;
constexpr int64_t kLargestStep = 1 << 15;  // of a stride, dilation or padding
// Pixels of an image with its padding. Padding costs memory that no file or input has to hold, so without
// a limit a few bytes could ask for all there is.
constexpr int64_t kLargestImage = int64_t{1} << 26;
constexpr size_t kWordBits = 32;

// Below this many products a call is over before a second thread has begun.
constexpr size_t kWorthThreads = size_t{1} << 22;
// Groups of positions of a task: many where they share the weights of one panel, few where panels share them.
constexpr size_t kGroupsOfAPanel = 64;
constexpr size_t kGroupsOfPanels = 16;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// Which bytes of channels become one plane of words.
struct PlaneOfBytes {
  const uint8_t* x;   // of the first eight channels
  size_t pixels;      // from eight channels to the next
  size_t channels;    // 1 to 32
};

// Words of `count` pixels from the one at `first` on; bits of channels that do not exist are 0.
void words_of_planes(const PlaneOfBytes& of, size_t first, size_t count, uint32_t* words) {
  const uint32_t there = of.channels == kWordBits ? ~uint32_t{0} : (uint32_t{1} << of.channels) - 1;
  const size_t bytes = (of.channels + 7) / 8;
  const uint8_t* x = of.x + first;
  if (bytes == 4) {
    const uint8_t* x1 = x + of.pixels;
    const uint8_t* x2 = x1 + of.pixels;
    const uint8_t* x3 = x2 + of.pixels;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t low = uint32_t{x[i]} | uint32_t{x1[i]} << 8;
      words[i] = (low | uint32_t{x2[i]} << 16 | uint32_t{x3[i]} << 24) & there;
    }
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    uint32_t word = 0;
    for (size_t byte = 0; byte < bytes; ++byte) word |= uint32_t{x[byte * of.pixels + i]} << (8 * byte);
    words[i] = word & there;
  }
}

template <Form kFormIn, Form kFormOut>
class BinConv {
 public:
  static constexpr Form kIn = kFormIn;
  static constexpr Form kOut = kFormOut;
  static constexpr const char* kName = layer_name("BinConv", "BinConvPack", "BinConvUnpack", "BinConvBits", kIn, kOut);
  using In = std::conditional_t<kIn == Form::kBits, uint8_t, float>;
  using Out = std::conditional_t<kOut == Form::kBits, uint8_t, float>;

  BinConv(const OrtApi* api, const OrtKernelInfo* info) : api_(api), kernel_(chosen_kernel()), forced_(kernel_was_asked_for()) {
    const LayerNode node(kName, api, info);
    const ort::Tensor packed = node.weights(4, "[N, kernel height, kernel width, ceil(K / 8)]");
    k_ = node.integer("K", 1, static_cast<int64_t>(kLargestSum));
    n_ = static_cast<size_t>(packed.shape[0]);
    group_ = node.integer("group", 1, packed.shape[0]);
    const std::vector<size_t> strides = node.integers("strides", 2, 1, kLargestStep);
    const std::vector<size_t> dilations = node.integers("dilations", 2, 1, kLargestStep);
    const std::vector<size_t> pads = node.integers("pads", 4, 0, kLargestStep);
    const size_t kernel_height = static_cast<size_t>(packed.shape[1]);
    const size_t kernel_width = static_cast<size_t>(packed.shape[2]);
    rows_ = {kernel_height, strides[0], dilations[0], pads[0], pads[2]};
    columns_ = {kernel_width, strides[1], dilations[1], pads[1], pads[3]};
    if (n_ % group_ != 0) {
      node.refuse(std::to_string(n_) + " output channels are no multiple of the attribute group, " +
                  std::to_string(group_));
    }
    ort::Shape fitting = packed.shape;
    fitting[3] = static_cast<int64_t>(ceil_div(k_, 8));
    if (packed.shape != fitting) {
      node.refuse("weights has the shape " + ort::shown(packed.shape) + " instead of " + ort::shown(fitting));
    }
    if (kernel_height > kLargestSum || kernel_width > kLargestSum ||
        k_ * kernel_height > kLargestSum || k_ * kernel_height * kernel_width > kLargestSum) {
      node.refuse("K times the kernel's taps must be at most " + std::to_string(kLargestSum));
    }
    if (kIn == Form::kBits && group_ > 1 && k_ % 8 != 0) node.refuse("K must be a multiple of 8 where bits come in groups");
    if (kOut == Form::kBits && group_ > 1 && group_channels() % 8 != 0) {
      node.refuse("the output channels of a group must be a multiple of 8 where bits come out");
    }
    words_ = ceil_div(k_, kWordBits);
    pack(static_cast<const uint8_t*>(packed.data));
    const int64_t n = packed.shape[0];
    const Finish finish = node.finish(kOut, n);
    if constexpr (kOut == Form::kBits) {
      place(finish.low, low_);
      place(finish.high, width_);
      for (size_t i = 0; i < width_.size(); ++i) width_[i] -= low_[i];
    } else {
      place(finish.alpha, alpha_);
      place(finish.bias, bias_);
    }
    if constexpr (kIn == Form::kNumbers) threshold_ = node.thresholds(k_ * group_);
    if (kernel_.tiles != nullptr && (forced_ || worth_tiles())) {
      tiled_ = std::make_unique<TiledConv>(*kernel_.tiles, ConvShape{k_, n_, group_, rows_, columns_},
                                           static_cast<const uint8_t*>(packed.data), finish);
    }
  }

  BinConv(BinConv&& other) noexcept = default;

  void compute(OrtKernelContext* context) const {
    const OrtValue* value = nullptr;
    ort::check(api_, ort::KernelContextGetInput::call(api_, context, kX, &value));
    const ort::Tensor x = ort::tensor_of(api_, value);
    const size_t planes = kIn == Form::kBits ? ceil_div(k_ * group_, 8) : k_ * group_;
    if (x.shape.size() != 4 || x.shape[1] != static_cast<int64_t>(planes)) {
      refuse(x.shape, "must be [batch, " + std::to_string(planes) + ", height, width]");
    }
    if (!fits(rows_, x.shape[2]) || !fits(columns_, x.shape[3]) ||
        padded(rows_, x.shape[2]) > kLargestImage / padded(columns_, x.shape[3])) {
      refuse(x.shape, "with its padding is smaller than the kernel, or too large");
    }
    const int64_t shape[4] = {x.shape[0], static_cast<int64_t>(out_planes()), outputs(rows_, x.shape[2]),
                              outputs(columns_, x.shape[3])};
    OrtValue* output = nullptr;
    ort::check(api_, ort::KernelContextGetOutput::call(api_, context, 0, shape, 4, &output));
    if (shape[0] == 0) return;
    void* y = nullptr;
    ort::check(api_, ort::GetTensorMutableData::call(api_, output, &y));
    const auto batch = static_cast<size_t>(shape[0]);
    const auto height = static_cast<size_t>(x.shape[2]);
    const auto width = static_cast<size_t>(x.shape[3]);
    const auto* from = static_cast<const In*>(x.data);
    auto* to = static_cast<Out*>(y);
    const auto by_tiles = [&] {
      tiled_->convolve(api_, context, tile_input(from, threshold_), batch, height, width, tile_output(to));
    };
    const auto by_counting = [&] { convolve(context, *plan_for(height, width), from, batch, to); };
    if (!tiled_) return by_counting();
    if (forced_) return by_tiles();
    faster_->run(static_cast<double>(batch * height * width), by_tiles, by_counting);
  }

 private:
  [[noreturn]] static void refuse(const ort::Shape& shape, const std::string& what) {
    throw ort::InvalidArgument("edgepack::" + std::string(kName) + ": x has the shape " + ort::shown(shape) + ", which " + what);
  }

  static int64_t padded(const ConvAxis& axis, int64_t size) {
    return size + static_cast<int64_t>(axis.before + axis.after);
  }

  static bool fits(const ConvAxis& axis, int64_t size) {
    return size >= 1 && size <= kLargestImage &&
           padded(axis, size) >= static_cast<int64_t>(axis.dilation * (axis.kernel - 1) + 1);
  }

  // Of an image that fits.
  static int64_t outputs(const ConvAxis& axis, int64_t size) {
    const auto extent = static_cast<int64_t>(axis.dilation * (axis.kernel - 1) + 1);
    const auto padded = size + static_cast<int64_t>(axis.before + axis.after);
    return (padded - extent) / static_cast<int64_t>(axis.stride) + 1;
  }

  // A tile is 64 channels of a group deep and 32 output channels wide, full or not; counting has steps of
  // 32 and 8.
  bool worth_tiles() const { return k_ >= 32 && group_channels() >= 16; }

  size_t group_channels() const { return n_ / group_; }
  size_t group_panels() const { return ceil_div(group_channels(), kConvChannels); }
  size_t taps() const { return rows_.kernel * columns_.kernel; }

  // Where output channel n stands: its panel's first word is at panel * taps * words * 8.
  size_t panel_of(size_t n) const {
    return n / group_channels() * group_panels() + n % group_channels() / kConvChannels;
  }
  size_t lane_of(size_t n) const { return n % group_channels() % kConvChannels; }
  size_t slot_of(size_t n) const { return panel_of(n) * kConvChannels + lane_of(n); }

  void pack(const uint8_t* file) {
    const size_t bytes = ceil_div(k_, 8);
    bits_.assign(group_ * group_panels() * taps() * words_ * kConvChannels, 0);
    pops_.assign(group_ * group_panels() * kConvChannels * taps(), 0);
    for (size_t n = 0; n < n_; ++n) {
      uint32_t* panel = bits_.data() + panel_of(n) * taps() * words_ * kConvChannels + lane_of(n);
      for (size_t tap = 0; tap < taps(); ++tap) {
        const uint8_t* from = file + (n * taps() + tap) * bytes;
        for (size_t k = 0; k < k_; ++k) {
          const uint32_t bit = (from[k / 8] >> (k % 8)) & 1u;
          panel[(tap * words_ + k / kWordBits) * kConvChannels] |= bit << (k % kWordBits);
          pops_[slot_of(n) * taps() + tap] += static_cast<int32_t>(bit);
        }
      }
      if (kernel_.running) run(panel, taps() * words_, kConvChannels);
    }
  }

  template <typename From, typename To>
  void place(const From* from, std::vector<To>& to) const {
    to.assign(group_ * group_panels() * kConvChannels, To{0});
    for (size_t n = 0; n < n_; ++n) to[slot_of(n)] = static_cast<To>(from[n]);
  }

  // Images of a sample of the output.
  size_t out_planes() const { return kOut == Form::kBits ? ceil_div(n_, 8) : n_; }

  // The plan of the last size is kept: most sessions see one size only.
  std::shared_ptr<const ConvPlan> plan_for(size_t height, size_t width) const {
    const std::lock_guard<std::mutex> lock(last_->mutex);
    if (!last_->plan || last_->plan->height != height || last_->plan->width != width) {
      last_->plan = std::make_shared<const ConvPlan>(rows_, columns_, height, width, k_, words_,
                                                     pops_.size() / taps(), pops_, kernel_.pixels);
    }
    return last_->plan;
  }

  // One word of channels of one sample: the words of every pixel of the image, each into its plane. `line`
  // has room for a row of the image where the columns have a stride.
  void pack_plane(const ConvPlan& plan, const In* x, size_t group, size_t word, uint32_t* line,
                  uint32_t* bits) const {
    const size_t channels = std::min(kWordBits, k_ - word * kWordBits);
    const size_t first = group * k_ + word * kWordBits;
    const size_t pixels = plan.height * plan.width;
    std::memset(bits, 0, plan.word_plane * sizeof *bits);
    const bool adjacent = plan.column_stride == 1;
    for (size_t y = 0; y < plan.height; ++y) {
      const size_t at = y + rows_.before;
      uint32_t* row = bits + at % plan.row_stride * plan.column_stride * plan.plane +
                      at / plan.row_stride * plan.plane_width;
      uint32_t* to = adjacent ? row + columns_.before : line;
      if constexpr (kIn == Form::kBits) {
        words_of_planes({x + first / 8 * pixels, pixels, channels}, y * plan.width, plan.width, to);
      } else {
        const float* threshold = threshold_.empty() ? nullptr : threshold_.data() + first;
        kernel_.pack_pixels(x + first * pixels + y * plan.width, pixels, channels, threshold, plan.width, to);
      }
      for (size_t i = 0; !adjacent && i < plan.width; ++i) {
        const size_t column = i + columns_.before;
        row[column % plan.column_stride * plan.plane + column / plan.column_stride] = to[i];
      }
    }
  }

  // `panels` of one group from `panel` on.
  void multiply(const ConvPlan& plan, const uint32_t* bits, size_t panel, size_t panels, size_t first, size_t last,
                Out* y) const {
    const size_t in_group = panel % group_panels() * kConvChannels;
    ConvWork work{};
    work.bits = bits;
    work.weights = bits_.data() + panel * taps() * words_ * kConvChannels;
    work.panels = panels;
    work.offsets = plan.offsets.data();
    work.taps = taps() * words_;
    work.first = first;
    work.last = last;
    work.classes = plan.classes.data();
    work.stored = plan.stored.data();
    work.starts = plan.starts.data();
    work.row = plan.out_width;
    work.gap = plan.plane_width - plan.out_width;
    work.sums = plan.sums.data() + panel * kConvChannels * plan.class_stride;
    work.class_stride = plan.class_stride;
    work.plane = plan.out_height * plan.out_width;
    work.channels = std::min(panels * kConvChannels, group_channels() - in_group);
    if constexpr (kOut == Form::kBits) {
      work.low = low_.data() + panel * kConvChannels;
      work.width = width_.data() + panel * kConvChannels;
      work.packed = y + panel * work.plane;
      conv_bits(kernel_, work);
    } else {
      work.alpha = alpha_.data() + panel * kConvChannels;
      work.bias = bias_.data() + panel * kConvChannels;
      work.y = y + (panel / group_panels() * group_channels() + in_group) * work.plane;
      kernel_.conv(work);
    }
  }

  // The bits of the activations live for this call only: calls of one session may overlap.
  void convolve(OrtKernelContext* context, const ConvPlan& plan, const In* x, size_t batch, Out* y) const {
    const size_t planes = group_ * words_;  // of a sample
    const size_t image = plan.height * plan.width * (kIn == Form::kBits ? ceil_div(k_ * group_, 8) : k_ * group_);
    const size_t sample = planes * plan.word_plane;
    const size_t out = out_planes() * plan.out_height * plan.out_width;
    Buffer<uint32_t> bits(batch * sample + 2 * kPositions);  // the last vector may reach over the end
    std::memset(bits.data() + batch * sample, 0, 2 * kPositions * sizeof(uint32_t));
    const size_t line = plan.column_stride == 1 ? 0 : plan.width;
    Buffer<uint32_t> lines(batch * planes * line);
    const auto pack_one = [&](size_t task) {
      const size_t b = task / planes;
      const size_t plane = task % planes;
      uint32_t* to = bits.data() + b * sample + plane * plan.word_plane;
      pack_plane(plan, x + b * image, plane / words_, plane % words_, lines.data() + task * line, to);
    };
    // A task is some panels of a group at some groups of positions.
    const size_t task_groups = kernel_.conv_panels > 1 ? kGroupsOfPanels : kGroupsOfAPanel;
    const size_t chunks = ceil_div(plan.groups, task_groups);
    const size_t parts = ceil_div(group_panels(), kernel_.conv_panels);
    const auto multiply_one = [&](size_t task) {
      const size_t first = task % chunks * task_groups;
      const size_t part = task / chunks % parts * kernel_.conv_panels;
      const size_t group = task / chunks / parts % group_;
      const size_t b = task / chunks / parts / group_;
      const uint32_t* from = bits.data() + b * sample + group * words_ * plan.word_plane;
      multiply(plan, from, group * group_panels() + part, std::min(kernel_.conv_panels, group_panels() - part), first,
               std::min(plan.groups, first + task_groups), y + b * out);
    };
    const size_t tasks = batch * group_ * parts * chunks;
    if (batch * n_ * plan.out_height * plan.out_width * taps() * k_ < kWorthThreads) {
      for (size_t task = 0; task < batch * planes; ++task) pack_one(task);
      for (size_t task = 0; task < tasks; ++task) multiply_one(task);
      return;
    }
    ort::parallel_for(api_, context, batch * planes, pack_one);
    ort::parallel_for(api_, context, tasks, multiply_one);
  }

  struct LastPlan {
    std::mutex mutex;
    std::shared_ptr<const ConvPlan> plan;
  };

  const OrtApi* api_;
  const BitKernel& kernel_;
  bool forced_;
  size_t k_ = 0;
  size_t n_ = 0;
  size_t group_ = 0;
  size_t words_ = 0;
  ConvAxis rows_{};
  ConvAxis columns_{};
  std::vector<uint32_t> bits_;    // [panels, taps, words, 8]
  std::vector<int32_t> pops_;     // [panels * 8, taps]
  std::vector<float> alpha_;      // [panels * 8]
  std::vector<float> bias_;       // [panels * 8]
  std::vector<uint32_t> low_;     // [panels * 8]
  std::vector<uint32_t> width_;   // [panels * 8]
  std::vector<float> threshold_;  // [C], or empty where there is no shift
  std::unique_ptr<TiledConv> tiled_;  // null where tiles cannot be faster
  std::unique_ptr<Faster> faster_ = std::make_unique<Faster>();  // of tiles and counting
  std::unique_ptr<LastPlan> last_ = std::make_unique<LastPlan>();
};

}  // namespace

const OrtCustomOp* bin_conv_operator(Form in, Form out) { return layer_operator_of<BinConv>(in, out); }

}  // namespace edgepack
