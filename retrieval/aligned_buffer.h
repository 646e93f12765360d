// Memory for vectors: aligned to cache lines, and in large pages where the system gives them, since a scan through
// small ones waits for their addresses.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace blazon::retrieval {

template <typename T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t size = 0) : size_(size) {
    if (size == 0) return;
    constexpr size_t kLine = 64, kLargePage = size_t{2} << 20;
    const size_t alignment = size * sizeof(T) >= kLargePage ? kLargePage : kLine;
    const size_t bytes = (size * sizeof(T) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (!data_) throw std::bad_alloc();
    if (alignment == kLargePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: it may fail
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T[], Free> data_;  // not initialised
  size_t size_;
};

}  // namespace blazon::retrieval
