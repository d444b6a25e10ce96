// Reusable memory of each thread of a pool.
#ifndef CARAT_BACKEND_CPU_THREAD_SCRATCH_H_
#define CARAT_BACKEND_CPU_THREAD_SCRATCH_H_

#include <cstddef>
#include <vector>

#include "base/aligned_buffer.h"

namespace carat::cpu {

/// One buffer per thread. fit() before the fork, at() inside.
class ThreadScratch {
 public:
  explicit ThreadScratch(int threads)
      : buffers_(static_cast<size_t>(threads)) {}

  /// Gives each thread at least `bytes`. Throws: Error{kOutOfMemory}.
  void fit(size_t bytes) {
    for (AlignedBuffer& buffer : buffers_) {
      if (buffer.bytes() < bytes) buffer = AlignedBuffer(bytes);
    }
  }
  template <class T>
  T* at(int thread) {
    return buffers_[static_cast<size_t>(thread)].as<T>();
  }

 private:
  std::vector<AlignedBuffer> buffers_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_THREAD_SCRATCH_H_
