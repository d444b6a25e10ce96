// Room for partial results: of ranges of K, or blocks of keys, that several
// thread blocks share.
#ifndef CARAT_BACKEND_CUDA_PARTIAL_ROOM_H_
#define CARAT_BACKEND_CUDA_PARTIAL_ROOM_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/launch_queue.h"

namespace carat::cuda {

/// Grows when asked, for each lane on its own. Not thread-safe.
class PartialRoom {
 public:
  /// At most, without lanes and in each lane.
  static constexpr int64_t kMostBytes = int64_t{64} << 20;
  static constexpr int64_t kMostLaneBytes = kMostBytes / LaunchQueue::kLanes;

  explicit PartialRoom(std::shared_ptr<LaunchQueue> queue)
      : queue_(std::move(queue)) {}

  int64_t most_bytes() const {
    return queue_->uses_lanes() ? kMostLaneBytes : kMostBytes;
  }
  /// The room of the lane that is noted for, valid until it is asked for more.
  /// May flush: to be called before anything is staged for the launch that uses
  /// it. Throws: Error{kOutOfMemory}.
  float* fit(int64_t bytes) {
    DeviceMemory& memory = memory_[static_cast<size_t>(queue_->lane())];
    if (memory.bytes() < bytes) {
      memory = {};  // before the new one; waits for its users
      memory = DeviceMemory(queue_, bytes, "partial results");
    }
    return reinterpret_cast<float*>(memory.data());
  }

 private:
  std::shared_ptr<LaunchQueue> queue_;
  DeviceMemory memory_[LaunchQueue::kLanes];
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_PARTIAL_ROOM_H_
