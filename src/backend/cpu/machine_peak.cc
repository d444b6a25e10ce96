#include "backend/cpu/machine_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "backend/cpu/isa.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"

namespace carat {
namespace {

// Short and many, so that some are undisturbed by other programs.
constexpr int kDotTries = 40;
constexpr int kReadTries = 6;
constexpr int64_t kReadBytes = int64_t{512} << 20;
constexpr double kTrySeconds = 0.004;

// Seconds of one call.
template <class Body>
double time_of(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

double integer_gmacs(const cpu::KernelTable& kernels, ThreadPool& pool) {
  // As many iterations as take one try's time.
  int64_t iterations = 1000;
  while (time_of([&] { kernels.peak_dots(iterations); }) < kTrySeconds / 2) {
    iterations *= 2;
  }
  double best = 0;
  for (int i = 0; i < kDotTries; ++i) {
    std::atomic<int64_t> total{0};
    const double seconds = time_of([&] {
      pool.run([&](int) { total += kernels.peak_dots(iterations); });
    });
    best = std::max(best, static_cast<double>(total.load()) / seconds / 1e9);
  }
  return best;
}

double read_gbytes_per_s(const cpu::KernelTable& kernels, ThreadPool& pool) {
  AlignedBuffer memory(kReadBytes);
  auto* data = memory.as<uint8_t>();
  constexpr int64_t kPieceBytes = 4096;
  const auto for_pieces = [&](const auto& body) {
    pool.for_range(kReadBytes / kPieceBytes, [&](int64_t begin, int64_t end) {
      body(data + begin * kPieceBytes, (end - begin) * kPieceBytes);
    });
  };
  // Untouched pages are all one zero page.
  for_pieces([](uint8_t* piece, int64_t bytes) {
    std::memset(piece, 1, static_cast<size_t>(bytes));
  });
  double best = 0;
  std::atomic<uint32_t> used{0};
  for (int i = 0; i < kReadTries; ++i) {
    const double seconds = time_of([&] {
      for_pieces([&](const uint8_t* piece, int64_t bytes) {
        used += kernels.read_stream(piece, bytes);
      });
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds / 1e9);
  }
  return best;
}

}  // namespace

MachinePeak measure_machine_peak(std::string_view isa, int threads) {
  const cpu::KernelTable& kernels = cpu::select_kernels(isa);
  ThreadPool pool(threads);
  return {integer_gmacs(kernels, pool), read_gbytes_per_s(kernels, pool)};
}

}  // namespace carat
