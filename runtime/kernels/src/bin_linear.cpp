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
// sign(v) is -1 where v < 0 and +1 everywhere else: at 0, at -0, and for a NaN. The sum is exact, the
// product with alpha and the sum with bias are rounded one after the other, to float32.
//
// x + shift < 0 is decided as x < -shift, which is the same: a float32 sum is negative exactly when
// the true sum is, because subtraction of two different floats never gives zero.
#include "bin_linear.h"

#include <algorithm>
#include <memory>

#include "choose.h"
#include "faster.h"
#include "layer_operator.h"
#include "packed_weights.h"
#include "tiled_linear.h"

namespace edgepack {
namespace {

constexpr int64_t kLargestK = 1 << 24;

// Below this many products a call is over before a second thread has begun.
constexpr size_t kWorthThreads = size_t{1} << 22;
// Rows from which tiles can be faster: expanding the weights costs as much as counting some forty rows.
constexpr size_t kWorthTiles = 48;
constexpr size_t kMostThreads = 64;
constexpr size_t kRowsOfATask = 64;
constexpr size_t kChannelsOfATask = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

class BinLinear {
 public:
  static constexpr const char* kName = "BinLinear";

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
    const float* alpha = node.floats(kAlpha, n);
    const float* bias = node.floats(kBias, n);
    weights_ = std::make_unique<PackedWeights>(kernel_, static_cast<size_t>(n), k_, file, alpha, bias);
    if (kernel_.tiles != nullptr) {
      tiled_ = std::make_unique<TiledLinear>(*kernel_.tiles, static_cast<size_t>(n), k_, file, alpha, bias);
    }
    threshold_ = node.thresholds(k_);
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* value = nullptr;
    ort::check(api_, ort::KernelContextGetInput::call(api_, context, kX, &value));
    const ort::Tensor x = ort::tensor_of(api_, value);
    if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(k_)) {
      throw ort::InvalidArgument("edgepack::BinLinear: x has the shape " + ort::shown(x.shape) +
                                 ", and its last dimension must be K = " + std::to_string(k_));
    }
    std::vector<int64_t> shape = x.shape;
    shape.back() = static_cast<int64_t>(weights_->channels());
    OrtValue* output = nullptr;
    ort::check(api_, ort::KernelContextGetOutput::call(api_, context, 0, shape.data(), shape.size(), &output));
    size_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= static_cast<size_t>(shape[i]);
    if (rows == 0) return;
    void* y = nullptr;
    ort::check(api_, ort::GetTensorMutableData::call(api_, output, &y));
    multiply(context, static_cast<const float*>(x.data), rows, static_cast<float*>(y));
  }

 private:
  // Signs live for a call only: calls of one session may overlap.
  void multiply(OrtKernelContext* context, const float* x, size_t rows, float* y) const {
    const auto by_tiles = [&] { multiply_tiles(context, x, rows, y); };
    const auto by_counting = [&] { multiply_bits(context, x, rows, y); };
    if (!tiled_ || (rows < kWorthTiles && !forced_)) return by_counting();
    if (forced_) return by_tiles();
    faster_->run(static_cast<double>(rows), by_tiles, by_counting);
  }

  void multiply_tiles(OrtKernelContext* context, const float* x, size_t rows, float* y) const {
    TiledLinear::Call call(*tiled_, x, threshold(), rows, y);
    const size_t threads =
        rows * weights_->channels() * k_ < kWorthThreads ? 1 : std::min(call.most_threads(), kMostThreads);
    if (threads == 1) return call.work();
    ort::parallel_for(api_, context, threads, [&](size_t) { call.work(); });
  }

  void multiply_bits(OrtKernelContext* context, const float* x, size_t rows, float* y) const {
    const size_t words = words_of(k_);
    Buffer<uint32_t> bits(rows * words);
    const auto pack = [&](size_t first, size_t last) {
      for (size_t row = first; row < last; ++row) {
        kernel_.pack_row(x + row * k_, threshold(), k_, bits.data() + row * words);
      }
    };
    const size_t n = weights_->channels();
    if (rows * n * k_ < kWorthThreads) {
      pack(0, rows);
      weights_->multiply(bits.data(), rows, 0, weights_->panels(), y);
      return;
    }
    const size_t row_tasks = ceil_div(rows, kRowsOfATask);
    const auto rows_of = [&](size_t task) { return std::min(rows, (task + 1) * kRowsOfATask); };
    ort::parallel_for(api_, context, row_tasks,
                      [&](size_t task) { pack(task * kRowsOfATask, rows_of(task)); });
    const size_t panels = ceil_div(kChannelsOfATask, kernel_.lanes);  // of a task
    const size_t panel_tasks = ceil_div(weights_->panels(), panels);
    ort::parallel_for(api_, context, row_tasks * panel_tasks, [&](size_t task) {
      const size_t row = task % row_tasks * kRowsOfATask;
      const size_t first = task / row_tasks * panels;
      const size_t last = std::min(weights_->panels(), first + panels);
      weights_->multiply(bits.data() + row * words, rows_of(task % row_tasks) - row, first, last, y + row * n);
    });
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

const OrtCustomOp* bin_linear_operator() { return layer_operator<BinLinear>(); }

}  // namespace edgepack
