// `edgepack_runner check|measure|count REQUEST` in the run's folder: outputs of recorded calls, times, or, in an
// emulator that counts instructions, calls between marks.
//
//     answer.json       what was found, or {"ok": false, "what": "why not"}
//     outputs-N.bin     check: outputs of unit N, call by call, output by output:
//                       type:u32  rank:u32  shape:i64 each  bytes
//     samples-N.f64     measure: milliseconds of measurement N
//
// Every measurement is made in a process of its own: its memory is its own, and so are its cores.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "count.h"
#include "device.h"
#include "json.h"
#include "measure.h"
#include "program.h"
#include "request.h"
#include "runtime.h"

namespace edgepack::runner {
namespace {

// Written whole or not at all.
void write(const std::string& path, const std::string& content) {
  const std::string part = path + ".part";
  std::ofstream stream(part, std::ios::binary);
  stream << content;
  stream.close();
  if (!stream || std::rename(part.c_str(), path.c_str()) != 0) {
    throw std::runtime_error("the file " + path + " cannot be written: the device's disk may be full");
  }
}

template <typename Number>
void put(std::ofstream& stream, Number number) {
  stream.write(reinterpret_cast<const char*>(&number), sizeof number);
}

void write_outputs(const Runtime& runtime, Program& program, const std::string& path) {
  std::ofstream stream(path, std::ios::binary);
  for (size_t step = 0; step < program.steps(); ++step) {
    for (const auto& value : program.step(step)) {
      const ort::Tensor tensor = ort::tensor_of(runtime.api(), value->get());
      size_t bytes = element_size(tensor.type);
      put(stream, static_cast<uint32_t>(tensor.type));
      put(stream, static_cast<uint32_t>(tensor.shape.size()));
      for (const int64_t length : tensor.shape) {
        put(stream, length);
        bytes *= static_cast<size_t>(length);
      }
      stream.write(static_cast<const char*>(tensor.data), static_cast<std::streamsize>(bytes));
    }
  }
  stream.close();
  if (!stream) throw std::runtime_error("the outputs cannot be written: the device's disk may be full");
}

std::string check(const Request& request) {
  const Runtime runtime(request.library, request.kernels);
  for (size_t index = 0; index < request.units.size(); ++index) {
    Program program(runtime, request, request.units[index], request.threads);
    write_outputs(runtime, program, "outputs-" + std::to_string(index) + ".bin");
  }
  std::vector<std::string> cpus;
  for (const uint32_t cpu : allowed_cpus()) cpus.push_back(std::to_string(cpu));
  return json::Object()
      .add("ok", "true")
      .add("runtime", json::text(runtime.version()))
      .add("cpus", json::list(cpus))
      .add("files", files_json(request.root, request.globs))
      .done();
}

std::string refused(const std::string& what) {
  return json::Object().add("ok", "false").add("what", json::text(what)).done();
}

std::string content_of(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream content;
  content << stream.rdbuf();
  return content.str();
}

// One measurement in a child of this process, which has loaded nothing yet.
std::string measured_apart(const Request& request, const Unit& unit, const Plan& plan, size_t number) {
  const std::string answer = "answer-" + std::to_string(number) + ".json";
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("the device starts no process for the measurement");
  if (child == 0) {
    int code = 1;
    try {
      write(answer, measure(request, unit, plan, "samples-" + std::to_string(number) + ".f64"));
      code = 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      try {
        write(answer, refused(error.what()));
        code = 2;
      } catch (const std::exception&) {
        code = 1;
      }
    }
    _exit(code);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) throw std::runtime_error("the measurement's process was lost");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return content_of(answer);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) return content_of(answer);
  const std::string how = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                              : "exit code " + std::to_string(WEXITSTATUS(status));
  throw std::runtime_error("Measuring " + unit.name + " (" + plan.name + ") ended with " + how +
                           " on the device");
}

std::string measure_all(const Request& request) {
  std::vector<std::string> found;
  for (const Plan& plan : request.plans) {
    for (const Unit& unit : request.units) {
      if (!found.empty()) usleep(static_cast<useconds_t>(request.settings.rest_s * 1e6));
      found.push_back(measured_apart(request, unit, plan, found.size()));
    }
  }
  return json::Object().add("ok", "true").add("measured", json::list(found)).done();
}

using Work = std::string (*)(const Request&);

// What a word of the command line asks for; null where it is none.
Work work_of(const char* word) {
  if (std::strcmp(word, "check") == 0) return check;
  if (std::strcmp(word, "measure") == 0) return measure_all;
  if (std::strcmp(word, "count") == 0) return count;
  return nullptr;
}

int run(const Work work, const char* path) {
  try {
    try {
      const Request request = read_request(path);
      write("answer.json", work(request));
    } catch (const std::exception& error) {
      write("answer.json", refused(error.what()));
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace edgepack::runner

int main(int count, char** words) {
  const auto work = count == 3 ? edgepack::runner::work_of(words[1]) : nullptr;
  if (work == nullptr) {
    std::fprintf(stderr, "%s check|measure|count REQUEST\n", words[0]);
    return 2;
  }
  return edgepack::runner::run(work, words[2]);
}
