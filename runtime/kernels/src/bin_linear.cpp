// edgepack::BinLinear, version 1: a linear layer whose weights and activations are +1 or -1.
//
//     y[..., n] = alpha[n] * sum_k sign(x[..., k] + shift[k]) * w[n, k] + bias[n]
//
//   x       float32 [..., K], at least one dimension
//   weights uint8 [N, ceil(K / 8)], least significant bit first, bit 1 is -1; a constant
//   alpha   float32 [N], constant
//   bias    float32 [N], constant
//   shift   float32 [K] or [1], constant, optional; no NaN
//   K       attribute, an integer from 1 to 2^24 (up to there a float32 holds the sum exactly)
//
// In a chain of layers bits go from one to the next, packed as the weights are, with what stands between the
// layers folded into an interval of sums a channel:
//
//   BinLinearPack(x, weights, low, high, shift)   x as above, y uint8 [..., ceil(N / 8)]
//   BinLinearBits(x, weights, low, high)          x uint8 [..., ceil(K / 8)], y the same
//   BinLinearUnpack(x, weights, alpha, bias)      x uint8 [..., ceil(K / 8)], y float32 as above
//
//   low, high int32 [N], constant: the bit is 1 where low <= sum < high if low <= high, and otherwise where
//             sum >= low or sum < high. Bits of x beyond K count nothing, those of y beyond N are 0.
//
// sign(v) is -1 where v < 0 and +1 everywhere else: at 0, at -0, and for a NaN. The sum is exact, the
// product with alpha and the sum with bias are rounded one after the other, to float32.
//
// x + shift < 0 is decided as x < -shift, which is the same: a float32 sum is negative exactly when
// the true sum is, because subtraction of two different floats never gives zero.
#include "bin_linear.h"

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>

#include "choose.h"
#include "faster.h"
#include "layer_operator.h"
#include "packed_weights.h"
#include "row_blocks.h"
#include "tiled_linear.h"

namespace edgepack {
namespace {

constexpr int64_t kLargestK = 1 << 24;

// Below this many products a call is over before a second thread has begun.
constexpr size_t kWorthThreads = size_t{1} << 22;
// Rows from which tiles can be faster: expanding the weights costs as much as counting some forty rows.
constexpr size_t kWorthTiles = 48;
constexpr size_t kRowsOfABlock = 16;
constexpr size_t kChannelsOfAPart = 64;
// About a microsecond: less would be spent on taking it.
constexpr size_t kProductsOfAPart = size_t{1} << 20;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

template <Form kFormIn, Form kFormOut>
class BinLinear {
 public:
  static constexpr Form kIn = kFormIn;
  static constexpr Form kOut = kFormOut;
  static constexpr const char* kName = layer_name("BinLinear", "BinLinearPack", "BinLinearUnpack", "BinLinearBits", kIn, kOut);
  using In = std::conditional_t<kIn == Form::kBits, uint8_t, float>;
  using Out = std::conditional_t<kOut == Form::kBits, uint8_t, float>;

  BinLinear(const OrtApi* api, const OrtKernelInfo* info) : api_(api), kernel_(chosen_kernel()), forced_(kernel_was_asked_for()) {
    const LayerNode node(kName, api, info);
    k_ = node.integer("K", 1, kLargestK);
    const ort::Tensor packed = node.weights(2, "[N, ceil(K / 8)]");
    const int64_t n = packed.shape[0];
    const int64_t bytes = (static_cast<int64_t>(k_) + 7) / 8;
    if (packed.shape[1] != bytes) {
      node.refuse("weights has the shape " + ort::shown(packed.shape) + " instead of " + ort::shown({n, bytes}));
    }
    const auto* file = static_cast<const uint8_t*>(packed.data);
    const Finish finish = node.finish(kOut, n);
    weights_ = std::make_unique<PackedWeights>(kernel_, static_cast<size_t>(n), k_, file, finish);
    if (kernel_.tiles != nullptr) {
      tiled_ = std::make_unique<TiledLinear>(*kernel_.tiles, static_cast<size_t>(n), k_, file, finish);
    }
    if constexpr (kIn == Form::kNumbers) threshold_ = node.thresholds(k_);
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* value = nullptr;
    ort::check(api_, ort::KernelContextGetInput::call(api_, context, kX, &value));
    const ort::Tensor x = ort::tensor_of(api_, value);
    const size_t width = kIn == Form::kBits ? ceil_div(k_, 8) : k_;
    if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(width)) {
      throw ort::InvalidArgument("edgepack::" + std::string(kName) + ": x has the shape " + ort::shown(x.shape) +
                                 ", and its last dimension must be " +
                                 (kIn == Form::kBits ? "ceil(K / 8) = " : "K = ") + std::to_string(width));
    }
    ort::Shape shape = x.shape;
    const size_t n = weights_->channels();
    shape.back() = static_cast<int64_t>(kOut == Form::kBits ? ceil_div(n, 8) : n);
    OrtValue* output = nullptr;
    ort::check(api_, ort::KernelContextGetOutput::call(api_, context, 0, shape.data(), shape.size(), &output));
    size_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= static_cast<size_t>(shape[i]);
    if (rows == 0) return;
    void* y = nullptr;
    ort::check(api_, ort::GetTensorMutableData::call(api_, output, &y));
    multiply(context, static_cast<const In*>(x.data), rows, static_cast<Out*>(y));
  }

 private:
  // Signs live for a call only: calls of one session may overlap.
  void multiply(OrtKernelContext* context, const In* x, size_t rows, Out* y) const {
    const auto by_tiles = [&] { multiply_tiles(context, x, rows, y); };
    const auto by_counting = [&] { multiply_bits(context, x, rows, y); };
    if (!tiled_ || (rows < kWorthTiles && !forced_)) return by_counting();
    if (forced_) return by_tiles();
    faster_->run(static_cast<double>(rows), by_tiles, by_counting);
  }

  void multiply_tiles(OrtKernelContext* context, const In* x, size_t rows, Out* y) const {
    const bool alone = rows * weights_->channels() * k_ < kWorthThreads;
    const size_t threads = alone ? 1 : threads_for(tiled_->most_threads(rows));
    TiledLinear::Call call(*tiled_, tile_input(x, threshold_), rows, tile_output(y), threads == 1);
    if (threads == 1) return call.work(0, 1);
    ort::parallel_for(api_, context, threads, [&](size_t i) { call.work(i, threads); });
  }

  // Words of the rows from `first` to before `last`.
  void pack(const In* x, size_t first, size_t last, uint32_t* bits) const {
    const size_t words = words_of(k_);
    for (size_t row = first; row < last; ++row) {
      if constexpr (kIn == Form::kBits) {
        words_of_bytes(x + row * ceil_div(k_, 8), k_, bits + row * words);
      } else {
        kernel_.pack_row(x + row * k_, threshold(), k_, bits + row * words);
      }
      if (kernel_.running) run(bits + row * words, words);
    }
  }

  // Whether rows of bytes are the kernel's rows of words already.
  bool packed(const In* x) const {
    return kIn == Form::kBits && !kernel_.running && k_ % kBitsPerWordPair == 0 && reinterpret_cast<uintptr_t>(x) % alignof(uint32_t) == 0;
  }

  void multiply_bits(OrtKernelContext* context, const In* x, size_t rows, Out* y) const {
    const size_t words = words_of(k_);
    const bool ready = packed(x);
    Buffer<uint32_t> made(ready ? 0 : rows * words);
    const uint32_t* bits = ready ? reinterpret_cast<const uint32_t*>(x) : made.data();
    const size_t n = weights_->channels();
    if (rows * n * k_ < kWorthThreads) {
      if (!ready) pack(x, 0, rows, made.data());
      weights_->multiply(bits, rows, 0, weights_->panels(), y);
      return;
    }
    const size_t panels = panels_of_a_part();
    const size_t parts = ceil_div(weights_->panels(), panels);
    const size_t blocks = ceil_div(rows, kRowsOfABlock);
    const size_t stride = kOut == Form::kBits ? ceil_div(n, 8) : n;
    RowBlocks shared(blocks, parts);
    const auto end_of = [&](size_t block) { return std::min(rows, (block + 1) * kRowsOfABlock); };
    const auto prepare = [&](size_t block) {
      if (!ready) pack(x, block * kRowsOfABlock, end_of(block), made.data());
    };
    const auto product = [&](size_t block, size_t part) {
      const size_t row = block * kRowsOfABlock;
      const size_t last = std::min(weights_->panels(), (part + 1) * panels);
      weights_->multiply(bits + row * words, end_of(block) - row, part * panels, last, y + row * stride);
    };
    const size_t threads = threads_for(blocks * parts);
    ort::parallel_for(api_, context, threads, [&](size_t i) { shared.work(i, threads, prepare, product); });
  }

  // A part is at least 64 channels, whose lines of y nobody else writes, and worth being taken.
  size_t panels_of_a_part() const {
    const size_t channels = std::max(kChannelsOfAPart, kProductsOfAPart / (kRowsOfABlock * k_));
    return ceil_div(channels, kChannelsOfAPart) * kChannelsOfAPart / kernel_.lanes;
  }

  const float* threshold() const { return threshold_.empty() ? nullptr : threshold_.data(); }

  const OrtApi* api_;
  const BitKernel& kernel_;
  bool forced_;
  size_t k_ = 0;
  std::unique_ptr<PackedWeights> weights_;
  std::unique_ptr<TiledLinear> tiled_;  // null where the processor has no tiles
  std::unique_ptr<Faster> faster_ = std::make_unique<Faster>();  // of tiles and counting
  std::vector<float> threshold_;  // [K], or empty where there is no shift
};

}  // namespace

const OrtCustomOp* bin_linear_operator(Form in, Form out) { return layer_operator_of<BinLinear>(in, out); }

}  // namespace edgepack
