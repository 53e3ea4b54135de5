// Times of one unit on one plan, by the same rules as `runtime/devices/runner/measure.py` and `_timing_steps.py`.
#pragma once

#include <string>

#include "request.h"

namespace edgepack::runner {

// The fields of one measurement, without its outer braces; samples go to the file `samples`, one 64-bit float
// (milliseconds) a call, repetition by repetition. Throws std::runtime_error.
std::string measure(const Request& request, const Unit& unit, const Plan& plan, const std::string& samples);

}  // namespace edgepack::runner
