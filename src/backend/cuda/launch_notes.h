// Launches that are noted to be played later, with their parameters.
#ifndef CARAT_BACKEND_CUDA_LAUNCH_NOTES_H_
#define CARAT_BACKEND_CUDA_LAUNCH_NOTES_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace carat::cuda {

/// How to launch one kernel.
struct LaunchShape {
  dim3 grid;
  int threads = 0;
  int shared_bytes = 0;
  /// Thread blocks along z that form a cluster (sm_90): all of them, or 1.
  int cluster = 1;
};

/// Events that order launches of two streams, by number from 0. An event is
/// made when first asked for. Not thread-safe.
class Passages {
 public:
  static constexpr int32_t kNone = -1;

  Passages() = default;
  ~Passages();
  Passages(const Passages&) = delete;
  Passages& operator=(const Passages&) = delete;
  /// Throws: Error{kDevice}.
  cudaEvent_t event(int32_t passage);

 private:
  std::vector<cudaEvent_t> events_;
};

/// In order. Two that are equal launch the same. Not thread-safe.
class LaunchNotes {
 public:
  /// Notes a launch with `bytes` of parameters, that begins when the passage
  /// `waits_for`, if any, was last marked.
  void add(const void* kernel, const LaunchShape& shape, const void* params,
           size_t bytes, int32_t waits_for);
  /// Forgets the last; returns what it waited for.
  int32_t take_back();
  /// Marks a passage when the last has ended.
  void mark(int32_t passage) { records_.back().marks = passage; }
  void clear();

  size_t size() const { return records_.size(); }
  bool empty() const { return records_.empty(); }
  bool operator==(const LaunchNotes& other) const;

  /// Launches all. overlaps: kernels may start while the one before still runs
  /// (sm_90). captures: the stream is being captured into a graph. Throws:
  /// Error{kDevice}.
  void play(cudaStream_t stream, Passages& passages, bool overlaps,
            bool captures);

 private:
  struct Record {
    const void* kernel;
    uint32_t grid[3];
    int32_t threads;
    int32_t shared_bytes;
    int32_t cluster;
    uint32_t params_offset;
    uint32_t params_bytes;
    int32_t waits_for;
    int32_t marks;
    bool operator==(const Record&) const = default;
  };

  std::vector<Record> records_;
  std::vector<std::byte> params_;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LAUNCH_NOTES_H_
