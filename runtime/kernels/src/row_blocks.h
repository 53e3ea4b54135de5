// The rows of one call in blocks, shared by any number of threads in one parallel section.
//
// A thread takes a block that nobody has, prepares its activations itself, so that they are in its own cache, and
// multiplies them, part by part of the output channels. Where no blocks are left it takes parts of blocks that
// others have begun: cores of a shared machine are not equally fast. Each thread begins at a place of its own, the
// same in every call, where its cache has the output's lines from the call before.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace edgepack {

// How many threads to call for work of so many parts: a call that finds nothing left is not free.
inline size_t threads_for(size_t parts) {
  static const size_t processors = std::max(1u, std::thread::hardware_concurrency());
  return std::min(parts, processors);
}

class RowBlocks {
 public:
  RowBlocks(size_t blocks, size_t parts) : parts_(parts), blocks_(blocks) {}

  // Whether all parts are taken: a thread that comes now is late.
  bool nothing_left() const { return nothing_left_.load(std::memory_order_relaxed); }

  // What the thread with this index, of at most `threads`, has to do: any thread does all that the others leave.
  // prepare(block) is called once a block, then multiply(block, part) once a part, of several threads at a time.
  template <typename Prepare, typename Multiply>
  void work(size_t index, size_t threads, const Prepare& prepare, const Multiply& multiply) {
    if (nothing_left()) return;
    const size_t first = index * blocks_.size() / threads;
    const auto block_at = [&](size_t i) { return first + i < blocks_.size() ? first + i : first + i - blocks_.size(); };
    const auto rest_of = [&](size_t block) {
      std::atomic<size_t>& next = blocks_[block].next_part;
      for (size_t part = next.fetch_add(1); part < parts_; part = next.fetch_add(1)) multiply(block, part);
    };
    for (size_t i = 0; i < blocks_.size(); ++i) {
      Block& block = blocks_[block_at(i)];
      if (block.is_taken.load(std::memory_order_relaxed) || block.is_taken.exchange(true)) continue;
      prepare(block_at(i));
      block.is_ready.store(true, std::memory_order_release);
      rest_of(block_at(i));
    }
    for (size_t i = 0; i < blocks_.size(); ++i) {
      Block& block = blocks_[block_at(i)];
      if (block.next_part.load(std::memory_order_relaxed) >= parts_) continue;
      // Another thread is at it, and it is short.
      while (!block.is_ready.load(std::memory_order_acquire)) std::this_thread::yield();
      rest_of(block_at(i));
    }
    nothing_left_.store(true, std::memory_order_relaxed);
  }

 private:
  struct alignas(64) Block {
    std::atomic<bool> is_taken{false};
    std::atomic<bool> is_ready{false};
    std::atomic<size_t> next_part{0};
  };

  size_t parts_;
  std::vector<Block> blocks_;
  std::atomic<bool> nothing_left_{false};
};

}  // namespace edgepack
