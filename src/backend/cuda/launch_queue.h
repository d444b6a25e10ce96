// The queue: operations are recorded, submit() plays them (and play_early()
// those of the first layers).
//
// A chunk's launches are first noted down with their parameters, and what the
// host says about them (tokens, positions, block tables) is gathered in one
// pinned buffer. Playing copies that buffer to the device and launches. What
// is played and equals what was played earlier (every decode step does, as do
// prefill chunks of one size) is replayed as a CUDA graph, so that a slow host
// does not show: what changes from step to step lies in the copied buffer.
//
// Chunks can run side by side, each in a lane: a stream with staging of its
// own. What ties them is the KV cache: a chunk's passage through a layer's keys
// and values begins when that of the chunk before it, in the other lane, ended.
#ifndef CARAT_BACKEND_CUDA_LAUNCH_QUEUE_H_
#define CARAT_BACKEND_CUDA_LAUNCH_QUEUE_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "backend/cuda/launch_notes.h"
#include "backend/cuda/staging_buffer.h"

namespace carat::cuda {

/// In order, or in lanes. Not thread-safe.
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
  size_t noted() const { return notes_.size(); }
  /// Forgets the last one.
  void take_back();
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

  /// What is noted from now on goes into this lane, of [0, kLanes): behind
  /// that lane's earlier work, and behind all work from before lanes were used,
  /// but beside the other lane's. Throws: Error{kDevice}; at first use
  /// Error{kOutOfMemory}.
  void use_lane(int lane);
  /// What is noted from now on follows all work of all lanes.
  void join_lanes() noexcept;
  /// Whether lanes are in use; else all is in order, in lane 0.
  bool uses_lanes() const { return uses_lanes_; }
  int lane() const { return lane_; }
  /// In lanes: the launches from here to end_passage() begin when the other
  /// lane's last passage through `place` (from 0) that was played has ended.
  /// Without lanes nothing.
  void begin_passage(int place);
  /// Ends the passage, if one is open, with the last launch. begin_passage(),
  /// use_lane() and submit() do it too.
  void end_passage();

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
  cudaStream_t stream() const { return now().stream; }
  /// Makes this queue's device the calling thread's.
  void bind() const;

  static constexpr int kLanes = 2;

 private:
  struct Lane {
    cudaStream_t stream = nullptr;
    cudaEvent_t reached = nullptr;  // to order it with the others
    std::unique_ptr<StagingBuffer> staging;
  };
  struct Graph {
    LaunchNotes notes;
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
  void make_lane(Lane& lane);
  void free_lanes() noexcept;
  Lane& now() { return lanes_[lane_]; }
  const Lane& now() const { return lanes_[lane_]; }
  void follow(const Lane& lane, const Lane& other);
  void wait_all();
  static int32_t passage(int place, int lane) { return place * kLanes + lane; }
  void flush_notes();
  void forget() noexcept;
  void play();
  cudaGraph_t capture();
  void launch_all(bool captures) {
    notes_.play(now().stream, passages_, overlaps_, captures);
  }
  Graph& find_graph();
  cudaEvent_t take_event();

  int device_;
  bool overlaps_;
  Lane lanes_[kLanes];  // the others are made when first used
  int lane_ = 0;
  bool uses_lanes_ = false;
  Passages passages_;
  int32_t waits_for_ = Passages::kNone;  // of the next launch
  int32_t open_ = Passages::kNone;       // the one that is noted now
  LaunchNotes notes_;
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
