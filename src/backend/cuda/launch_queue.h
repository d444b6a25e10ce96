// The queue: operations are recorded, submit() plays them (and play_early()
// those of the first layers).
//
// A chunk's launches are first noted down with their parameters, and what the
// host says about them (tokens, positions, block tables) is gathered in one
// pinned buffer. Playing copies that buffer to the device and launches. What
// is played and equals what was played earlier (every decode step does, as do
// prefill chunks of one size) is replayed as a CUDA graph, so that a slow host
// does not show: what changes from step to step lies in the copied buffer.
#ifndef CARAT_BACKEND_CUDA_LAUNCH_QUEUE_H_
#define CARAT_BACKEND_CUDA_LAUNCH_QUEUE_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <type_traits>
#include <unordered_map>
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

/// One stream, in order. Not thread-safe.
class LaunchQueue {
 public:
  /// Throws: Error{kDevice}, Error{kOutOfMemory}.
  /// overlaps: kernels may start while the one before still runs (sm_90).
  LaunchQueue(int device, bool overlaps);
  ~LaunchQueue();
  LaunchQueue(const LaunchQueue&) = delete;
  LaunchQueue& operator=(const LaunchQueue&) = delete;

  /// Notes a launch of `kernel`, whose only parameter is of type Params.
  template <class Params>
  void launch(void (*kernel)(Params), const LaunchShape& shape,
              std::type_identity_t<Params> params) {
    static_assert(std::is_trivially_copyable_v<Params>);
    // Notes are compared as bytes: what lies between members must not differ.
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&params);
#endif
#endif
    record(reinterpret_cast<const void*>(kernel), shape, &params,
           sizeof(Params));
  }

  /// How many launches are noted since the last flush.
  size_t noted() const { return records_.size(); }
  /// Forgets the last one.
  void take_back() {
    params_.resize(records_.back().params_offset);
    records_.pop_back();
    --launches_;
  }
  /// How many launches were ever noted and not taken back.
  int64_t launches() const { return launches_; }

  /// Copies `bytes` of host data to the device ahead of this chunk's launches;
  /// returns where it will lie. `reserve` >= bytes: takes that much room, so
  /// that a little more data next time leaves the other addresses alone.
  /// Equal data staged twice in one chunk is staged once.
  const void* stage(const void* data, size_t bytes, size_t reserve);
  /// Makes sure that stage() calls of `bytes` in all, each with up to 256 bytes
  /// of padding, find room without moving what they return.
  void make_room(size_t bytes);

  /// Plays what is noted; if that fails, it is forgotten. Throws:
  /// Error{kDevice}.
  void flush();
  /// Between operations: plays what is noted once it is a few layers' work,
  /// once a chunk and only if all chunks before were waited for: the device
  /// would have nothing to do while the host notes the rest. Like any flush it
  /// invalidates what stage() returned. Throws: Error{kDevice}.
  void play_early();
  /// flush(), then marks the place; tickets ascend from 1.
  int64_t submit();
  /// Until the work of `ticket` is done. Throws: Error{kDevice}.
  void wait(int64_t ticket);
  /// flush(), then until all work is done. Throws: Error{kDevice}.
  void drain();
  /// The same for destructors: a failing device no longer uses anything.
  void drain_quietly() noexcept;

  /// Copies to or from the device after everything noted so far, and waits.
  void copy_from_device(void* host, const void* device, size_t bytes);
  void copy_to_device(void* device, const void* host, size_t bytes);
  /// Zeroes device memory, in order.
  void zero(void* device, size_t bytes);

  /// How often flush() was called.
  uint64_t flushes() const { return flushes_; }
  cudaStream_t stream() const { return stream_; }
  /// Makes this queue's device the calling thread's.
  void bind() const;

 private:
  struct Record {
    const void* kernel;
    uint32_t grid[3];
    int32_t threads;
    int32_t shared_bytes;
    int32_t cluster;
    uint32_t params_offset;
    uint32_t params_bytes;
    bool operator==(const Record&) const = default;
  };
  struct Staged {
    size_t offset;
    size_t bytes;
  };
  // Pinned host memory, busy until its copy is done.
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t copied = nullptr;
    bool in_use = false;
  };
  struct Graph {
    std::vector<Record> records;
    std::vector<std::byte> params;
    cudaGraphExec_t executable = nullptr;  // null: seen once
    uint64_t last_use = 0;
  };
  struct Ticket {
    int64_t number;
    cudaEvent_t event;
  };

  void record(const void* kernel, const LaunchShape& shape, const void* params,
              size_t bytes);
  void allow_shared_memory(const void* kernel, int bytes);
  void make_staging(size_t bytes);
  void free_staging() noexcept;
  void flush_notes();
  void forget() noexcept;
  void play();
  cudaGraph_t capture();
  void launch_all();
  Graph& find_graph();
  bool is_noted(const Graph& graph) const;
  cudaEvent_t take_event();

  static constexpr int kSlots = 4;

  int device_;
  bool overlaps_;
  cudaStream_t stream_ = nullptr;
  std::vector<Record> records_;
  std::vector<std::byte> params_;
  std::vector<Staged> staged_;
  size_t staged_bytes_ = 0;
  size_t staging_capacity_ = 0;
  std::byte* device_staging_ = nullptr;
  Slot slots_[kSlots];
  int slot_ = 0;
  std::vector<Graph> graphs_;
  uint64_t plays_ = 0;
  uint64_t flushes_ = 0;
  bool has_played_early_ = false;  // of the present chunk
  int64_t launches_ = 0;
  std::unordered_map<const void*, int> shared_limits_;
  std::deque<Ticket> tickets_;
  std::vector<cudaEvent_t> free_events_;
  int64_t last_ticket_ = 0;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LAUNCH_QUEUE_H_
