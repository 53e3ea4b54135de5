// Which of two ways to the same result is the faster, here and now.
//
// The tiles of a core serve everything that runs on it. Where a second thread of the core multiplies too, perhaps
// in another virtual machine, tiles were measured three times slower than alone, and counting bits by a fifth:
// then counting is faster, else tiles are. No feature of a processor tells; the clock does. Ways give equal bits,
// so nobody but the clock can tell which one ran.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace edgepack {

class Faster {
 public:
  // Runs one of the two for work of `size` (rows, pixels). To be called by any number of threads at once.
  template <typename First, typename Second>
  void run(double size, const First& first, const Second& second) {
    const size_t way = choose();
    const auto begin = std::chrono::steady_clock::now();
    way == 0 ? first() : second();
    const std::chrono::duration<float, std::micro> took = std::chrono::steady_clock::now() - begin;
    learn(way, took.count() / static_cast<float>(size));
  }

 private:
  static constexpr uint32_t kFirst = 6;    // calls that take turns
  static constexpr uint32_t kEvery = 128;  // calls the slower way gets one: three times slower then costs 1.6 %

  size_t choose() {
    const uint32_t call = calls_.fetch_add(1, std::memory_order_relaxed);
    if (call < kFirst) return call % 2;
    const size_t best = cost(1) < cost(0) ? 1 : 0;
    return call % kEvery == 0 ? 1 - best : best;
  }

  // What disturbs a call makes it longer: a shorter time counts at once, a longer one bit by bit.
  void learn(size_t way, float took) {
    const float known = cost(way);
    const bool counts = known == 0 || took < known;
    cost_[way].store(counts ? took : known + (std::min(took, 2 * known) - known) / 4, std::memory_order_relaxed);
  }

  float cost(size_t way) const { return cost_[way].load(std::memory_order_relaxed); }

  std::atomic<uint32_t> calls_{0};
  std::atomic<float> cost_[2] = {{0}, {0}};  // microseconds a unit of size; 0: never run
};

}  // namespace edgepack
