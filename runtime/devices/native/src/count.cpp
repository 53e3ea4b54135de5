#include "count.h"

#include <sys/prctl.h>

#include <cstdint>
#include <vector>

#include "json.h"
#include "program.h"
#include "runtime.h"

namespace edgepack::runner {
namespace {

// A call of the system that every kernel refuses and that the emulator's plugin looks for.
constexpr int kMark = 0x65706b6d;
// What the first calls allocate and set up is done by then.
constexpr size_t kWarmUp = 3;
constexpr size_t kRepetitions = 5;

void mark(size_t number) { prctl(kMark, static_cast<unsigned long>(number), 0UL, 0UL, 0UL); }

void repeat(Program& program) {
  program.reset();
  for (size_t step = 0; step < program.steps(); ++step) program.step(step);
}

}  // namespace

std::string count(const Request& request) {
  const Runtime runtime(request.library, request.kernels);
  std::vector<std::string> found;
  // What a mark itself takes lies between these two.
  mark(0);
  mark(0);
  for (const Unit& unit : request.units) {
    Program program(runtime, request, unit, 1);
    for (size_t turn = 0; turn < kWarmUp; ++turn) repeat(program);
    for (size_t turn = 0; turn < kRepetitions; ++turn) {
      mark(found.size() + 1);
      repeat(program);
      mark(found.size() + 1);
    }
    found.push_back(json::Object()
                        .add("unit", json::text(unit.name))
                        .add("repetitions", std::to_string(kRepetitions))
                        .done());
  }
  return json::Object().add("ok", "true").add("counted", json::list(found)).done();
}

}  // namespace edgepack::runner
