// driver LIBRARY CASES RESULTS [THREADS [CALLERS [ROUNDS]]]
//
// Makes each case's node ROUNDS times and throws it away again; each time, CALLERS threads call it side by
// side, twice each, on THREADS threads a call. All must give the same. Prints the kernels that the
// processor runs.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <thread>

#include "cases.h"

namespace {

using namespace driver;

bool same(const std::vector<OrtValue>& a, const std::vector<OrtValue>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].type != b[i].type || a[i].shape != b[i].shape || a[i].bytes != b[i].bytes) return false;
  }
  return true;
}

Result result_of(const Library& library, const Case& given, size_t threads, size_t callers) {
  Result result;
  const OrtCustomOp* op = library.find(given.op);
  if (op == nullptr) throw std::runtime_error("there is no operator " + given.op);
  try {
    const Kernel kernel(op, given.node);
    result.outputs = kernel.run(given.node.inputs, threads);
    std::vector<std::vector<OrtValue>> again(callers * 2);
    std::vector<std::thread> running;
    for (size_t caller = 0; callers > 1 && caller < callers; ++caller) {
      running.emplace_back([&, caller] {
        for (size_t i = 0; i < 2; ++i) again[caller * 2 + i] = kernel.run(given.node.inputs, threads);
      });
    }
    for (std::thread& thread : running) thread.join();
    for (size_t i = 0; callers > 1 && i < again.size(); ++i) {
      if (!same(result.outputs, again[i])) throw std::logic_error("calls that overlap differ");
    }
    result.computed = true;
  } catch (const std::runtime_error& error) {
    result.refusal = error.what();
  }
  return result;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "driver LIBRARY CASES RESULTS [THREADS [CALLERS [ROUNDS]]]\n");
    return 2;
  }
  const auto number = [&](int place) {
    return place < count ? static_cast<size_t>(std::strtoul(arguments[place], nullptr, 10)) : size_t{1};
  };
  try {
    const Library library(arguments[1]);
    std::printf("%s\n", library.kernels().c_str());
    const std::vector<Case> cases = read_cases(arguments[2]);
    std::vector<Result> results;
    for (size_t round = 0; round < number(6); ++round) {
      library.register_again();
      results.clear();
      for (const Case& one : cases) results.push_back(result_of(library, one, number(4), number(5)));
    }
    write_results(arguments[3], results);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "driver: %s\n", error.what());
    return 1;
  }
}
