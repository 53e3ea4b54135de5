// The kernel that runs: the best one that this processor has, or the one that is asked for.
#pragma once

#include <string>
#include <vector>

#include "bit_kernel.h"

namespace edgepack {

// The kernels that this processor can run, best first; "portable" is always the last.
std::vector<const BitKernel*> runnable_kernels();

// The first of them, or the one that the environment variable EDGEPACK_KERNEL names.
// Throws std::invalid_argument if that one is unknown here.
const BitKernel& chosen_kernel();

// Whether EDGEPACK_KERNEL named it: then nothing else runs, however small the work.
bool kernel_was_asked_for();

}  // namespace edgepack
