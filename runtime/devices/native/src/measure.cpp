#include "measure.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <vector>

#include "device.h"
#include "json.h"
#include "program.h"

namespace edgepack::runner {
namespace {

constexpr size_t kWindowRuns = 5;
constexpr double kWindowMs = 20.0;
constexpr double kSteady = 0.05;
constexpr double kWarmUpShare = 0.25;  // of the longest that a measurement may take

double now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Milliseconds of one call; what it returns is dropped after the clock was read.
double timed_ms(Program& program, size_t step) {
  const double begin = now_ms();
  const Program::Outputs outputs = program.step(step);
  return now_ms() - begin;
}

// All calls from a fresh state, as one.
double repetition_ms(Program& program) {
  const double begin = now_ms();
  program.reset();
  Program::Outputs last;
  for (size_t step = 0; step < program.steps(); ++step) last = program.step(step);
  return now_ms() - begin;
}

struct WarmUp {
  double first_ms;
  size_t runs;
  bool steady;
  double typical_ms;

  std::string json() const {
    return json::Object()
        .add("first_ms", json::number(first_ms))
        .add("runs", std::to_string(runs))
        .add("steady", steady ? "true" : "false")
        .add("typical_ms", json::number(typical_ms))
        .done();
  }
};

// Calls in windows of at least 5 and 20 ms, until the medians of two in a row differ by at most 5 %.
WarmUp warm_up(Program& program, double limit_ms) {
  const double first = repetition_ms(program);
  const double deadline = now_ms() + limit_ms;
  double previous = -1;
  size_t runs = 0;
  while (true) {
    std::vector<double> window;
    double sum = 0;
    while (window.size() < kWindowRuns || sum < kWindowMs) {
      if (now_ms() >= deadline) {
        const double typical = !window.empty() ? median(window) : previous >= 0 ? previous : first;
        return {first, runs, false, typical};
      }
      window.push_back(repetition_ms(program));
      sum += window.back();
      ++runs;
    }
    const double current = median(window);
    if (previous >= 0 && std::abs(current - previous) <= kSteady * previous) return {first, runs, true, current};
    previous = current;
  }
}

void flush(std::FILE* file, std::vector<double>& times) {
  const size_t written = std::fwrite(times.data(), sizeof(double), times.size(), file);
  if (written != times.size() || std::fflush(file) != 0) {
    throw std::runtime_error("the samples cannot be written: the device's disk may be full");
  }
  times.clear();
}

// A line for who watches; a full disk is for the samples to notice.
void tell(size_t done, const Settings& settings, double seconds) {
  if (std::FILE* file = std::fopen("progress", "a")) {
    std::fprintf(file, "%zu of at least %u samples, %.0f of at least %g s\n", done, settings.fewest, seconds,
                 settings.least_s);
    std::fclose(file);
  }
}

// Repeats until there are enough samples and seconds, or the limit is reached. Between two repetitions, once in
// `every_s` seconds, the device's files are read; the repetition after that is not counted.
std::string sample(const Request& request, Program& program, const std::string& path) {
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "wb"), close);
  if (file == nullptr) throw std::runtime_error("the file " + path + " cannot be written");
  const Settings& settings = request.settings;
  std::vector<std::string> windows;
  std::vector<double> times;
  size_t done = 0;
  const double began = now_ms();
  double flushed = began;
  while (true) {
    program.reset();
    for (size_t step = 0; step < program.steps(); ++step) times.push_back(timed_ms(program, step));
    ++done;
    const double now = now_ms();
    const double seconds = (now - began) / 1e3;
    const bool over = (done >= settings.fewest && seconds >= settings.least_s) || seconds >= settings.most_s;
    if (!over && now - flushed < settings.every_s * 1e3) continue;
    flush(file.get(), times);
    windows.push_back(json::Object()
                          .add("s", json::number(seconds))
                          .add("done", std::to_string(done))
                          .add("files", files_json(request.root, request.globs))
                          .done());
    if (over) break;
    tell(done, settings, seconds);
    repetition_ms(program);
    flushed = now_ms();
  }
  return json::list(windows);
}

}  // namespace

std::string measure(const Request& request, const Unit& unit, const Plan& plan, const std::string& samples) {
  json::Object found;
  if (!plan.cpus.empty()) {
    const std::string why = bind_to(plan.cpus);
    if (!why.empty()) return found.add("skipped", json::text(why)).done();
  }
  json::Object memory;
  const auto note = [&memory](const char* name) { memory.add(name, std::to_string(high_water_bytes())); };
  const Runtime runtime(request.library, request.kernels);
  note("baseline_bytes");
  const double began = now_ms();
  Program program(runtime, request, unit, plan.threads);
  const double load_ms = now_ms() - began;
  note("load_bytes");
  const std::string before = files_json(request.root, request.globs);
  const WarmUp warm = warm_up(program, request.settings.most_s * kWarmUpShare * 1e3);
  note("peak_bytes");
  const std::string windows = sample(request, program, samples);
  const std::string after = files_json(request.root, request.globs);
  note("end_bytes");
  return found.add("load_ms", json::number(load_ms))
      .add("warm_up", warm.json())
      .add("memory", memory.done())
      .add("steps", std::to_string(program.steps()))
      .add("windows", windows)
      .add("before", before)
      .add("after", after)
      .done();
}

}  // namespace edgepack::runner
