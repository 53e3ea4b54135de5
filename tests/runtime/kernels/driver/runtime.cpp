#include "runtime.h"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

namespace {

using namespace edgepack;

constexpr size_t kEntries = 320;

OrtStatus* failure(std::string message) { return new OrtStatus{ORT_FAIL, std::move(message)}; }

template <size_t kPlace>
void missing() {
  std::fprintf(stderr, "the driver has no entry %zu of ONNX Runtime's table\n", kPlace);
  std::abort();
}

// A text or a list in the runtime's manner: without room for it, how much is needed.
template <typename T>
OrtStatus* copied(const T* from, size_t count, T* to, size_t* size) {
  const size_t room = std::exchange(*size, count);
  if (to == nullptr) return nullptr;
  if (room < count) return failure("the buffer is too small");
  std::memcpy(to, from, count * sizeof(T));
  return nullptr;
}

struct Table {
  std::array<void*, kEntries> entries;

  Table() {
    fill(std::make_index_sequence<kEntries>());
    set<ort::CreateStatus>([](OrtErrorCode code, const char* message) { return new OrtStatus{code, message}; });
    set<ort::GetErrorMessage>([](const OrtStatus* status) { return status->message.c_str(); });
    set<ort::ReleaseStatus>([](OrtStatus* status) { delete status; });
    domains();
    tensors();
    nodes();
    calls();
  }

  template <size_t... kPlaces>
  void fill(std::index_sequence<kPlaces...>) {
    entries = {reinterpret_cast<void*>(&missing<kPlaces>)...};
  }

  template <typename Entry, typename Function>
  void set(Function function) {
    put(Entry(), function);
  }

  template <size_t kPlace, typename Result, typename... Arguments>
  void put(ort::Entry<kPlace, Result, Arguments...>, Result (*function)(Arguments...)) {
    static_assert(kPlace < kEntries, "a longer table");
    entries[kPlace] = reinterpret_cast<void*>(function);
  }

  template <size_t kPlace, typename Result, typename... Arguments, typename Lambda>
  void put(ort::Entry<kPlace, Result, Arguments...> entry, Lambda lambda) {
    Result (*function)(Arguments...) = lambda;
    put(entry, function);
  }

  void domains() {
    set<ort::CreateCustomOpDomain>([](const char* name, OrtCustomOpDomain** made) -> OrtStatus* {
      *made = new OrtCustomOpDomain{name, {}};
      return nullptr;
    });
    set<ort::CustomOpDomainAdd>([](OrtCustomOpDomain* domain, const OrtCustomOp* op) -> OrtStatus* {
      domain->operators.push_back(op);
      return nullptr;
    });
    set<ort::AddCustomOpDomain>([](OrtSessionOptions* options, OrtCustomOpDomain* domain) -> OrtStatus* {
      options->domains.push_back(domain);
      return nullptr;
    });
    set<ort::ReleaseCustomOpDomain>([](OrtCustomOpDomain* domain) { delete domain; });
  }

  void tensors() {
    set<ort::GetTensorMutableData>([](OrtValue* value, void** data) -> OrtStatus* {
      *data = value->bytes.data();
      return nullptr;
    });
    set<ort::GetTensorTypeAndShape>(
        [](const OrtValue* value, OrtTensorTypeAndShapeInfo** info) -> OrtStatus* {
          *info = new OrtTensorTypeAndShapeInfo{value->type, value->shape};
          return nullptr;
        });
    set<ort::GetTensorElementType>(
        [](const OrtTensorTypeAndShapeInfo* info, ONNXTensorElementDataType* type) -> OrtStatus* {
          *type = info->type;
          return nullptr;
        });
    set<ort::GetDimensionsCount>([](const OrtTensorTypeAndShapeInfo* info, size_t* count) -> OrtStatus* {
      *count = info->shape.size();
      return nullptr;
    });
    set<ort::GetDimensions>(
        [](const OrtTensorTypeAndShapeInfo* info, int64_t* sizes, size_t count) -> OrtStatus* {
          for (size_t i = 0; i < count && i < info->shape.size(); ++i) sizes[i] = info->shape[i];
          return nullptr;
        });
    set<ort::ReleaseTensorTypeAndShapeInfo>([](OrtTensorTypeAndShapeInfo* info) { delete info; });
  }

  void nodes() {
    set<ort::KernelInfoGetAttributeInt64>(
        [](const OrtKernelInfo* node, const char* name, int64_t* value) -> OrtStatus* {
          const auto found = node->integers.find(name);
          if (found == node->integers.end()) return failure("no such attribute");
          *value = found->second;
          return nullptr;
        });
    set<ort::KernelInfoGetAttributeArrayInt64>(
        [](const OrtKernelInfo* node, const char* name, int64_t* values, size_t* size) -> OrtStatus* {
          const auto found = node->lists.find(name);
          if (found == node->lists.end()) return failure("no such attribute");
          return copied(found->second.data(), found->second.size(), values, size);
        });
    set<ort::KernelInfoGetInputCount>([](const OrtKernelInfo* node, size_t* count) -> OrtStatus* {
      *count = node->inputs.size();
      return nullptr;
    });
    set<ort::KernelInfoGetNodeName>([](const OrtKernelInfo* node, char* name, size_t* size) -> OrtStatus* {
      return copied(node->name.c_str(), node->name.size() + 1, name, size);
    });
    set<ort::KernelInfoGetConstantInputTensor>(
        [](const OrtKernelInfo* node, size_t input, int* constant, const OrtValue** value) -> OrtStatus* {
          *constant = input < node->inputs.size() && node->constant[input] ? 1 : 0;
          *value = *constant != 0 && node->inputs[input] ? &*node->inputs[input] : nullptr;
          return nullptr;
        });
  }

  void calls() {
    set<ort::KernelContextGetInput>(
        [](const OrtKernelContext* call, size_t input, const OrtValue** value) -> OrtStatus* {
          if (input >= call->inputs->size()) return failure("no such input");
          *value = (*call->inputs)[input] ? &*(*call->inputs)[input] : nullptr;
          return nullptr;
        });
    set<ort::KernelContextGetOutput>([](OrtKernelContext* call, size_t output, const int64_t* sizes,
                                        size_t count, OrtValue** value) -> OrtStatus* {
      if (output >= call->outputs.size()) return failure("no such output");
      OrtValue& made = call->outputs[output];
      made.type = call->output_types[output];
      made.shape.assign(sizes, sizes + count);
      size_t bytes = driver::size_of(made.type);
      for (const int64_t size : made.shape) bytes *= static_cast<size_t>(size);
      made.bytes.assign(bytes, 0xa5);  // what nobody writes is seen
      *value = &made;
      return nullptr;
    });
    set<ort::KernelContextParallelFor>([](const OrtKernelContext* call, void (*body)(void*, size_t),
                                          size_t count, size_t, void* data) -> OrtStatus* {
      std::atomic<size_t> next{0};
      const auto work = [&] {
        for (size_t i = next++; i < count; i = next++) body(data, i);
      };
      std::vector<std::thread> others;
      for (size_t i = 1; i < call->threads; ++i) others.emplace_back(work);
      work();
      for (std::thread& other : others) other.join();
      return nullptr;
    });
  }
};

const OrtApi* api() {
  static const Table table;
  return reinterpret_cast<const OrtApi*>(table.entries.data());
}

const OrtApi* api_of_version(uint32_t version) { return version <= ort::kVersion ? api() : nullptr; }

const char* version_string() { return "driver"; }

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = status->message;
  delete status;
  throw std::runtime_error(message);
}

template <typename Function>
Function symbol(void* handle, const char* name) {
  void* found = dlsym(handle, name);
  if (found == nullptr) throw std::runtime_error(std::string("the library has no ") + name);
  return reinterpret_cast<Function>(found);
}

}  // namespace

namespace driver {

size_t size_of(ONNXTensorElementDataType type) {
  switch (static_cast<int>(type)) {
    case 1: return 4;   // float32
    case 2: return 1;   // uint8
    case 3: return 1;   // int8
    case 6: return 4;   // int32
    case 7: return 8;   // int64
    case 11: return 8;  // float64
    case 12: return 4;  // uint32
    default: throw std::runtime_error("an element type that the driver does not know");
  }
}

Library::Library(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) throw std::runtime_error(dlerror());
  using Register = OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*);
  static const OrtApiBase base = {api_of_version, version_string};
  check(symbol<Register>(handle_, "RegisterCustomOps")(&options_, &base));
}

void Library::register_again() const {
  using Register = OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*);
  static const OrtApiBase base = {api_of_version, version_string};
  OrtSessionOptions options;
  check(symbol<Register>(handle_, "RegisterCustomOps")(&options, &base));
  if (options.domains != options_.domains) throw std::runtime_error("a second domain was made");
}

const OrtCustomOp* Library::find(const std::string& name) const {
  for (const OrtCustomOpDomain* domain : options_.domains) {
    for (const OrtCustomOp* op : domain->operators) {
      if (domain->name == "edgepack" && name == op->GetName(op)) return op;
    }
  }
  return nullptr;
}

std::string Library::kernels() const {
  return symbol<const char* (*)()>(handle_, "edgepack_kernels")();
}

Kernel::Kernel(const OrtCustomOp* op, const OrtKernelInfo& node) : op_(op) {
  if (op->version != ort::kVersion) throw std::runtime_error("another version of the operator's layout");
  check(op->CreateKernelV2(op, api(), &node, &kernel_));
}

Kernel::~Kernel() { op_->KernelDestroy(kernel_); }

std::vector<OrtValue> Kernel::run(const std::vector<std::optional<OrtValue>>& inputs, size_t threads) const {
  OrtKernelContext call{&inputs, {}, {}, threads};
  call.outputs.resize(op_->GetOutputTypeCount(op_));
  for (size_t i = 0; i < call.outputs.size(); ++i) call.output_types.push_back(op_->GetOutputType(op_, i));
  check(op_->KernelComputeV2(kernel_, &call));
  return std::move(call.outputs);
}

}  // namespace driver
