// The operator edgepack::BinLinear, version 1, and its three forms for bits; see bin_linear.cpp.
#pragma once

#include "layer_node.h"

namespace edgepack {

// One object a form, for the life of the library.
const OrtCustomOp* bin_linear_operator(Form in, Form out);

}  // namespace edgepack
