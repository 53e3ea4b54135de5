// The operator edgepack::BinLinear, version 1; see bin_linear.cpp.
#pragma once

#include "ort_c_api.h"

namespace edgepack {

// One object for the life of the library.
const OrtCustomOp* bin_linear_operator();

}  // namespace edgepack
