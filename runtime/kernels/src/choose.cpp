#include "choose.h"

#include <cstdlib>
#include <stdexcept>

#include "cpu_features.h"

namespace edgepack {

std::vector<const BitKernel*> runnable_kernels() {
  static const BitKernel* const kAll[] = {
#if defined(__x86_64__)
      // Without being asked for, tiles share large products with counting (faster.h).
      &kAmx, &kAvx512, &kAvx2, &kPopcnt,
#elif defined(__aarch64__)
      &kNeonDot, &kNeon,
#endif
      &kPortable,
  };
  std::vector<const BitKernel*> found;
  for (const BitKernel* kernel : kAll) {
    if (kernel->supported(cpu_features())) found.push_back(kernel);
  }
  return found;
}

bool kernel_was_asked_for() {
  const char* wanted = std::getenv("EDGEPACK_KERNEL");
  return wanted != nullptr && *wanted != '\0';
}

const BitKernel& chosen_kernel() {
  const std::vector<const BitKernel*> kernels = runnable_kernels();
  if (!kernel_was_asked_for()) return *kernels.front();
  const char* wanted = std::getenv("EDGEPACK_KERNEL");
  std::string names;
  for (const BitKernel* kernel : kernels) {
    if (std::string(wanted) == kernel->name) return *kernel;
    names += (names.empty() ? "" : ", ") + std::string(kernel->name);
  }
  throw std::invalid_argument("EDGEPACK_KERNEL asks for '" + std::string(wanted) +
                              "', and this processor runs: " + names);
}

}  // namespace edgepack
