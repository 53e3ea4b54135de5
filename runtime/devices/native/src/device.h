// What the device's files say, as they are: the host reads meaning into them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgepack::runner {

// Files that the patterns find below `root`, and what they hold, as a JSON object: null for a folder. Patterns
// are relative; what cannot be read is left out.
std::string files_json(const std::string& root, const std::vector<std::string>& patterns);

// Numbers of the cores that this process may use.
std::vector<uint32_t> allowed_cpus();

// Bind this process, and the threads that it will have; empty, or why the system refuses.
std::string bind_to(const std::vector<uint32_t>& cpus);

// Largest resident size so far (VmHWM), bytes.
uint64_t high_water_bytes();

}  // namespace edgepack::runner
