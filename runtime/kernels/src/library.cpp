// What the library shows to the outside: the entry that ONNX Runtime looks for, and which kernels run.
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "bin_conv.h"
#include "bin_linear.h"
#include "choose.h"
#include "ort_values.h"

#define EDGEPACK_EXPORT extern "C" __attribute__((visibility("default")))

namespace edgepack {
namespace {

// The domain `edgepack`, one for each runtime of the process: sessions refer to it for as long as they
// live, so it stays until the library is unloaded.
class Domains {
 public:
  OrtCustomOpDomain* of(const OrtApi* api) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [known, domain] : made_) {
      if (known == api) return domain;
    }
    OrtCustomOpDomain* domain = nullptr;
    ort::check(api, ort::CreateCustomOpDomain::call(api, "edgepack", &domain));
    made_.emplace_back(api, domain);
    for (const Form in : {Form::kNumbers, Form::kBits}) {
      for (const Form out : {Form::kNumbers, Form::kBits}) {
        ort::check(api, ort::CustomOpDomainAdd::call(api, domain, bin_linear_operator(in, out)));
        ort::check(api, ort::CustomOpDomainAdd::call(api, domain, bin_conv_operator(in, out)));
      }
    }
    return domain;
  }

  ~Domains() {
    for (const auto& [api, domain] : made_) ort::ReleaseCustomOpDomain::call(api, domain);
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<const OrtApi*, OrtCustomOpDomain*>> made_;
};

Domains& domains() {
  static Domains all;
  return all;
}

}  // namespace
}  // namespace edgepack

// ONNX Runtime calls this for each options object that the library is registered with. Without an
// interface of version 17 there is nothing to say a failure with; ONNX Runtime before 1.17 prints a
// line of its own, and the models' fallback functions serve.
EDGEPACK_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace edgepack;
  const OrtApi* api = base->GetApi(ort::kVersion);
  if (api == nullptr) return nullptr;
  ort::remember(base, api);
  return ort::guarded(api, [&] {
    ort::check(api, ort::AddCustomOpDomain::call(api, options, domains().of(api)));
  });
}

// The kernels that this processor runs, best first, with commas between them; never null.
EDGEPACK_EXPORT const char* edgepack_kernels() {
  static const std::string names = [] {
    std::string all;
    for (const edgepack::BitKernel* kernel : edgepack::runnable_kernels()) {
      all += (all.empty() ? "" : ",") + std::string(kernel->name);
    }
    return all;
  }();
  return names.c_str();
}
