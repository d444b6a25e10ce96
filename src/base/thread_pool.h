// The one thread pool: fork-join over a fixed team, static partition.
#ifndef CARAT_BASE_THREAD_POOL_H_
#define CARAT_BASE_THREAD_POOL_H_

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace carat {

/// A team of `size()` threads, the caller of run() being number 0. Workers
/// spin briefly for the next job, then sleep, so an idle pool costs nothing.
/// Thread-safe: concurrent run() calls take turns. Not reentrant: a body must
/// not call run() on the same pool. Bodies must not throw.
class ThreadPool {
 public:
  /// `threads` <= 0 means available_cpus(). With `pin`, if the team fills every
  /// processor it may use, each thread keeps to one of them, the threads that
  /// call run() included: never a spinning worker on its caller's processor.
  /// Destroying the pool on that thread frees it again.
  /// Throws: Error{kOutOfMemory} if the system refuses a thread.
  explicit ThreadPool(int threads = 0, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(index) once for each index in [0, size()), each on its own
  /// thread, and returns when all have returned.
  template <class Body>
  void run(Body&& body) noexcept {
    using Plain = std::remove_reference_t<Body>;
    run_job([](void* context,
               int index) { (*static_cast<Plain*>(context))(index); },
            const_cast<std::remove_const_t<Plain>*>(&body));
  }

  /// Splits [0, count) into size() contiguous ranges that differ by at most
  /// one and calls body(begin, end) for those not empty.
  template <class Body>
  void for_range(int64_t count, Body&& body) noexcept {
    if (count <= 0) return;
    if (count == 1 || size_ == 1) {
      body(int64_t{0}, count);
      return;
    }
    run([&](int index) {
      const int64_t begin = count * index / size_;
      const int64_t end = count * (index + 1) / size_;
      if (begin < end) body(begin, end);
    });
  }

 private:
  using Job = void (*)(void* context, int index);

  void run_job(Job job, void* context) noexcept;
  void work(int index) noexcept;
  void stop() noexcept;

  int size_;
  std::vector<int> cpus_;  // of each thread; empty: not pinned
  std::thread::id pinned_caller_;
  cpu_set_t callers_mask_;  // of pinned_caller_, before
  std::mutex turn_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int> pending_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace carat

#endif  // CARAT_BASE_THREAD_POOL_H_
