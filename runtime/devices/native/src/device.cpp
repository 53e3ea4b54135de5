#include "device.h"

#include <glob.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "json.h"

namespace edgepack::runner {
namespace {

constexpr size_t kLongest = 1 << 16;  // bytes of a file that are read; /proc/cpuinfo of many cores is shorter

bool read(const std::string& path, std::string& text) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return false;
  text.resize(kLongest);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  // A sensor that fails says so by an error, not by an empty file.
  if (stream.bad()) return false;
  text.resize(static_cast<size_t>(stream.gcount()));
  return true;
}

std::string spelled(const std::vector<uint32_t>& cpus) {
  std::string text;
  for (const uint32_t cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

}  // namespace

std::string files_json(const std::string& root, const std::vector<std::string>& patterns) {
  json::Object found;
  for (const std::string& pattern : patterns) {
    glob_t matches{};
    if (glob((root + "/" + pattern).c_str(), 0, nullptr, &matches) == 0) {
      for (size_t index = 0; index < matches.gl_pathc; ++index) {
        const std::string path = matches.gl_pathv[index];
        const std::string name = path.substr(root.size() + 1);
        struct stat facts {};
        std::string text;
        if (stat(path.c_str(), &facts) != 0) continue;
        if (S_ISDIR(facts.st_mode)) {
          found.add(name, "null");
        } else if (read(path, text)) {
          found.add(name, json::text(text));
        }
      }
    }
    globfree(&matches);
  }
  return found.done();
}

std::vector<uint32_t> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<uint32_t> found;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return found;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  }
  return found;
}

std::string bind_to(const std::vector<uint32_t>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const uint32_t cpu : cpus) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    return "the system refuses to bind to cores " + spelled(cpus) + ": " + std::strerror(errno);
  }
  const std::vector<uint32_t> bound = allowed_cpus();
  if (bound != cpus) {
    return "the system bound to cores " + spelled(bound) + " instead of " + spelled(cpus);
  }
  return "";
}

uint64_t high_water_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoull(line.substr(6)) * 1024;
  }
  throw std::runtime_error("the kernel does not tell this process's peak memory");
}

}  // namespace edgepack::runner
