#ifndef EDGEPACK_RUNNER_COUNT_H_
#define EDGEPACK_RUNNER_COUNT_H_

#include <string>

#include "request.h"

namespace edgepack::runner {

// Calls every unit between marks that a counting emulator notes (`runtime/devices/board/plugin`); returns the answer.
std::string count(const Request& request);

}  // namespace edgepack::runner

#endif
