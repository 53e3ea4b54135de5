// Memory of numbers that starts at a cache line and is not set to anything.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace edgepack {

template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : size_(count) {
    if (count > (SIZE_MAX - kLine) / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = (count * sizeof(T) + kLine - 1) / kLine * kLine;
    data_.reset(static_cast<T*>(std::aligned_alloc(kLine, bytes == 0 ? kLine : bytes)));
    if (!data_) throw std::bad_alloc();
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kLine = 64;
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_;
};

}  // namespace edgepack
