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
#include <cmath>
#include <memory>

#include "choose.h"
#include "ort_values.h"
#include "packed_weights.h"

namespace edgepack {
namespace {

constexpr int64_t kLargestK = 1 << 24;
enum Input : size_t { kX, kWeights, kAlpha, kBias, kShift, kInputs };
const char* const kNames[kInputs] = {"x", "weights", "alpha", "bias", "shift"};

// Below this many products a call is over before a second thread has begun.
constexpr size_t kWorthThreads = size_t{1} << 22;
constexpr size_t kRowsOfATask = 64;
constexpr size_t kChannelsOfATask = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

class BinLinear {
 public:
  BinLinear(const OrtApi* api, const OrtKernelInfo* kernel_info)
      : api_(api), kernel_(chosen_kernel()) {
    const ort::NodeInfo info(api, kernel_info);
    const std::string node = info.name();
    where_ = "edgepack::BinLinear" + (node.empty() ? "" : " '" + node + "'");
    const int64_t k = info.integer("K").value_or(0);
    if (k < 1 || k > kLargestK) {
      refuse("the attribute K must be an integer from 1 to " + std::to_string(kLargestK));
    }
    k_ = static_cast<size_t>(k);
    read_weights(info);
    read_shift(info);
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* value = nullptr;
    ort::check(api_, ort::KernelContextGetInput::call(api_, context, kX, &value));
    const ort::Tensor x = ort::tensor_of(api_, value);
    if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(k_)) {
      refuse("x has the shape " + ort::shown(x.shape) + ", and its last dimension must be K = " +
             std::to_string(k_));
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
  [[noreturn]] void refuse(const std::string& what) const { throw ort::InvalidArgument(where_ + ": " + what); }

  ort::Tensor constant(const ort::NodeInfo& info, Input input, ONNXTensorElementDataType type,
                       const std::vector<int64_t>& shape) const {
    const std::optional<ort::Tensor> found = info.constant(input);
    const std::string name = kNames[input];
    if (!found) refuse(name + " must be a constant of the graph (an initializer that is no input)");
    if (found->type != type) refuse(name + " has a wrong element type");
    if (found->shape != shape) {
      refuse(name + " has the shape " + ort::shown(found->shape) + " instead of " + ort::shown(shape));
    }
    return *found;
  }

  void read_weights(const ort::NodeInfo& info) {
    const std::optional<ort::Tensor> packed = info.constant(kWeights);
    if (!packed) refuse("weights must be a constant of the graph (an initializer that is no input)");
    if (packed->shape.size() != 2 || packed->shape[0] < 1) {
      refuse("weights has the shape " + ort::shown(packed->shape) + " instead of [N, ceil(K / 8)]");
    }
    const int64_t n = packed->shape[0];
    const int64_t bytes = (static_cast<int64_t>(k_) + 7) / 8;
    const ort::Tensor weights = constant(info, kWeights, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {n, bytes});
    const ort::Tensor alpha = constant(info, kAlpha, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {n});
    const ort::Tensor bias = constant(info, kBias, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {n});
    weights_ = std::make_unique<PackedWeights>(
        kernel_, static_cast<size_t>(n), k_, static_cast<const uint8_t*>(weights.data),
        static_cast<const float*>(alpha.data), static_cast<const float*>(bias.data));
  }

  void read_shift(const ort::NodeInfo& info) {
    if (info.input_count() <= kShift) return;
    const std::optional<ort::Tensor> given = info.constant(kShift);
    const bool one = given && given->shape == std::vector<int64_t>{1};
    const size_t count = one ? 1 : k_;
    const ort::Tensor shift =
        constant(info, kShift, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {static_cast<int64_t>(count)});
    const float* values = static_cast<const float*>(shift.data);
    if (std::any_of(values, values + count, [](float value) { return std::isnan(value); })) {
      refuse("shift holds a NaN");
    }
    if (std::all_of(values, values + count, [](float value) { return value == 0.0f; })) return;
    threshold_.resize(k_);
    for (size_t i = 0; i < k_; ++i) threshold_[i] = -values[one ? 0 : i];
  }

  // The bits of the activations live for this call only: calls of one session may overlap.
  void multiply(OrtKernelContext* context, const float* x, size_t rows, float* y) const {
    const size_t words = words_of(k_);
    const float* threshold = threshold_.empty() ? nullptr : threshold_.data();
    Buffer<uint32_t> bits(rows * words);
    const auto pack = [&](size_t first, size_t last) {
      for (size_t row = first; row < last; ++row) {
        kernel_.pack_row(x + row * k_, threshold, k_, bits.data() + row * words);
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

  const OrtApi* api_;
  const BitKernel& kernel_;
  std::string where_;
  size_t k_ = 0;
  std::unique_ptr<PackedWeights> weights_;
  std::vector<float> threshold_;  // [K], or empty where there is no shift
};

// The runtime's view of the class above, and the interface that its kernels were made with.
struct Kernel {
  const OrtApi* api;
  BinLinear layer;
};

OrtCustomOp described() {
  OrtCustomOp op{};
  op.version = ort::kVersion;
  op.GetName = [](const OrtCustomOp*) { return "BinLinear"; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU's
  op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return kInputs; };
  op.GetInputType = [](const OrtCustomOp*, size_t input) {
    return input == kWeights ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t input) {
    return input == kShift ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    return ort::guarded(api, [&] { *kernel = new Kernel{api, BinLinear(api, info)}; });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const Kernel& made = *static_cast<const Kernel*>(kernel);
    return ort::guarded(made.api, [&] { made.layer.compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace

const OrtCustomOp* bin_linear_operator() {
  static const OrtCustomOp op = described();
  return &op;
}

}  // namespace edgepack
