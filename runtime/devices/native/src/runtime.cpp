#include "runtime.h"

#include <dlfcn.h>

#include <stdexcept>
#include <utility>

namespace edgepack::runner {
namespace {

std::string loader_error() {
  const char* said = dlerror();
  return said == nullptr ? "no reason is given" : said;
}

}  // namespace

Value::~Value() {
  if (value_ != nullptr) ort::ReleaseValue::call(api_, value_);
}

Value::Value(Value&& other) noexcept : api_(other.api_), value_(std::exchange(other.value_, nullptr)) {}

Value& Value::operator=(Value&& other) noexcept {
  std::swap(api_, other.api_);
  std::swap(value_, other.value_);
  return *this;
}

Runtime::Runtime(const std::string& library, const std::string& kernels) : kernels_(kernels) {
  // Never unloaded: the process ends with it.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error("ONNX Runtime cannot be loaded: " + loader_error());
  using Base = const OrtApiBase* (*)();
  const auto base = reinterpret_cast<Base>(dlsym(handle, "OrtGetApiBase"));
  if (base == nullptr) throw std::runtime_error("the library " + library + " is not ONNX Runtime's");
  version_ = base()->GetVersionString();
  api_ = base()->GetApi(ort::kVersion);
  if (api_ == nullptr) {
    throw std::runtime_error("ONNX Runtime " + version_ + " is too old: 1.17 or newer is needed");
  }
  ort::check(api_, ort::CreateEnv::call(api_, ORT_LOGGING_LEVEL_FATAL, "edgepack", &environment_));
  ort::check(api_, ort::CreateCpuMemoryInfo::call(api_, OrtDeviceAllocator, OrtMemTypeDefault, &memory_));
}

Runtime::~Runtime() {
  if (memory_ != nullptr) ort::ReleaseMemoryInfo::call(api_, memory_);
  if (environment_ != nullptr) ort::ReleaseEnv::call(api_, environment_);
}

Value Runtime::value(const Given& given) const {
  OrtValue* made = nullptr;
  // The runtime does not write into inputs; its interface has no const for them.
  auto* data = const_cast<unsigned char*>(given.bytes.data());
  ort::check(api_, ort::CreateTensorWithDataAsOrtValue::call(
                       api_, memory_, data, given.bytes.size(), given.shape.data(), given.shape.size(),
                       static_cast<ONNXTensorElementDataType>(given.type), &made));
  return {api_, made};
}

Session::Session(const Runtime& runtime, const Part& part, uint32_t threads)
    : api_(runtime.api()), name_(part.name), input_texts_(part.inputs), output_texts_(part.outputs) {
  for (const std::string& text : input_texts_) inputs_.push_back(text.c_str());
  for (const std::string& text : output_texts_) outputs_.push_back(text.c_str());
  OrtSessionOptions* made = nullptr;
  ort::check(api_, ort::CreateSessionOptions::call(api_, &made));
  const auto release = [this](OrtSessionOptions* one) { ort::ReleaseSessionOptions::call(api_, one); };
  const std::unique_ptr<OrtSessionOptions, decltype(release)> options(made, release);
  ort::check(api_, ort::SetSessionLogSeverityLevel::call(api_, made, ORT_LOGGING_LEVEL_FATAL));
  ort::check(api_, ort::SetIntraOpNumThreads::call(api_, made, static_cast<int>(threads)));
  ort::check(api_, ort::SetInterOpNumThreads::call(api_, made, 1));
  ort::check(api_, ort::AddSessionConfigEntry::call(api_, made, "session.intra_op.allow_spinning", "0"));
  if (!runtime.kernels().empty()) {
    void* handle = nullptr;
    ort::check(api_, ort::RegisterCustomOpsLibrary::call(api_, made, runtime.kernels().c_str(), &handle));
  }
  ort::check(api_, ort::CreateSession::call(api_, runtime.environment(), part.file.c_str(), made, &session_));
}

Session::~Session() {
  if (session_ != nullptr) ort::ReleaseSession::call(api_, session_);
}

void Session::run(const std::vector<const OrtValue*>& inputs, std::vector<OrtValue*>& outputs) const {
  ort::check(api_, ort::Run::call(api_, session_, nullptr, inputs_.data(), inputs.data(), inputs.size(),
                                  outputs_.data(), outputs_.size(), outputs.data()));
}

size_t element_size(int type) {
  switch (type) {
    case 2: case 3: case 9: return 1;             // uint8, int8, bool
    case 4: case 5: case 10: case 16: return 2;   // uint16, int16, float16, bfloat16
    case 1: case 6: case 12: return 4;            // float32, int32, uint32
    case 7: case 11: case 13: return 8;           // int64, float64, uint64
    default: throw std::runtime_error("an output has the element type " + std::to_string(type) +
                                      " of ONNX, which this runner cannot hand back");
  }
}

}  // namespace edgepack::runner
