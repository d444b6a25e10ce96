#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <string>
#include <system_error>

#include "base/cpu_count.h"
#include "carat/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace carat {
namespace {

// About 50 us of polling: longer than the gap between two operations of a
// forward pass, short enough that a preempted team soon yields its share.
constexpr int kSpins = 2000;

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`.
template <class T>
void wait_for_change(std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_cpu();
  }
  value.wait(old, std::memory_order_acquire);
}

std::vector<int> affinity_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_this_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Advice: a refusal (a changed mask, a container) only costs speed.
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

ThreadPool::ThreadPool(int threads, bool pin)
    : size_(threads > 0 ? threads : available_cpus()) {
  if (pin) cpus_ = affinity_cpus();
  // A smaller team leaves the placement to the scheduler, which sees other
  // programs.
  if (static_cast<int>(cpus_.size()) != size_) cpus_.clear();
  workers_.reserve(size_ - 1);
  for (int index = 1; index < size_; ++index) {
    try {
      workers_.emplace_back([this, index] { work(index); });
    } catch (const std::system_error& error) {
      stop();
      throw Error(ErrorCode::kOutOfMemory,
                  "cannot start thread " + std::to_string(index + 1) + " of " +
                      std::to_string(size_) + ": " + error.what());
    }
  }
}

ThreadPool::~ThreadPool() {
  stop();
  if (pinned_caller_ == std::this_thread::get_id()) {
    sched_setaffinity(0, sizeof(callers_mask_), &callers_mask_);
  }
}

void ThreadPool::stop() noexcept {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_job(Job job, void* context) noexcept {
  std::lock_guard<std::mutex> lock(turn_);
  if (!cpus_.empty() && pinned_caller_ != std::this_thread::get_id()) {
    if (sched_getaffinity(0, sizeof(callers_mask_), &callers_mask_) == 0) {
      pinned_caller_ = std::this_thread::get_id();
      pin_this_thread(cpus_[0]);
    }
  }
  if (size_ == 1) {
    job(context, 0);
    return;
  }
  job_ = job;
  context_ = context;
  pending_.store(size_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  job(context, 0);
  int left;
  while ((left = pending_.load(std::memory_order_acquire)) != 0) {
    wait_for_change(pending_, left);
  }
}

void ThreadPool::work(int index) noexcept {
  if (!cpus_.empty()) pin_this_thread(cpus_[index]);
  uint32_t seen = 0;
  while (true) {
    wait_for_change(epoch_, seen);
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    job_(context_, index);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      pending_.notify_one();
    }
  }
}

}  // namespace carat
