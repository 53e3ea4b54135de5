// The operator edgepack::BinConv, version 1; see bin_conv.cpp.
#pragma once

#include "ort_c_api.h"

namespace edgepack {

// One object for the life of the library.
const OrtCustomOp* bin_conv_operator();

}  // namespace edgepack
