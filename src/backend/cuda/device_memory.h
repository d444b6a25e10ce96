// What lives in device memory: buffers, weights, activations, KV blocks.
#ifndef CARAT_BACKEND_CUDA_DEVICE_MEMORY_H_
#define CARAT_BACKEND_CUDA_DEVICE_MEMORY_H_

#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/launch_queue.h"
#include "backend/cuda/weight_format.h"
#include "base/thread_pool.h"

namespace carat::cuda {

/// Owns device memory; freed after the queue no longer uses it. Move-only.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// `what` names it in errors. Throws: Error{kOutOfMemory}.
  DeviceMemory(std::shared_ptr<LaunchQueue> queue, int64_t bytes,
               const char* what);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept
      : queue_(std::move(other.queue_)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(queue_, other.queue_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<LaunchQueue> queue_;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

class CudaBuffer : public Buffer {
 public:
  /// Zeroed. Throws: Error{kOutOfMemory}.
  CudaBuffer(const std::shared_ptr<LaunchQueue>& queue, int64_t floats);
  float* data() override { return reinterpret_cast<float*>(memory_.data()); }
  int64_t bytes() const override { return bytes_; }

 private:
  DeviceMemory memory_;
  int64_t bytes_;
};

class CudaMatrix : public PackedMatrix {
 public:
  /// Packs on `pool`, a few tile rows ahead of the copy. Throws:
  /// Error{kOutOfMemory}, Error{kInvalidArgument} for a bad layout,
  /// Error{kUnsupported} for a scale of 2^26 or more.
  CudaMatrix(const std::shared_ptr<LaunchQueue>& queue,
             const WeightSource& source, ThreadPool& pool);
  int64_t bytes() const override { return memory_.bytes(); }
  const WeightTiles& tiles() const { return tiles_; }

 private:
  DeviceMemory memory_;
  WeightTiles tiles_;
};

class CudaInput : public LinearInput {
 public:
  /// Zeroed, so that padded columns are zeros for ever.
  CudaInput(const std::shared_ptr<LaunchQueue>& queue, int64_t max_rows,
            int64_t cols);
  int64_t bytes() const override { return memory_.bytes(); }
  const ActivationSlab& slab() const { return slab_; }

 private:
  DeviceMemory memory_;
  ActivationSlab slab_;
};

/// Columns of a head of `head_dim` in the cache: 64, 128, or a multiple of 256.
int64_t padded_head_dim(int64_t head_dim);

/// Blocks of f16: [layer][key, value][kv head], each as BlockPart says. Zeroed
/// when made, so that what no position has filled yet is finite, and columns
/// past head_dim are zeros for ever.
class CudaKv : public KvStorage {
 public:
  CudaKv(std::shared_ptr<LaunchQueue> queue, const KvLayout& layout);
  int64_t block_bytes() const override { return block_bytes_; }
  int64_t slab_blocks() const override { return slab_blocks_; }
  void grow(int64_t blocks) override;

  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  const uint8_t* block(int32_t id) const {
    return blocks_[static_cast<size_t>(id)];
  }

 private:
  void add_slab(int64_t count);

  std::shared_ptr<LaunchQueue> queue_;
  int64_t block_bytes_;
  int64_t slab_blocks_;
  std::vector<DeviceMemory> slabs_;
  std::vector<const uint8_t*> blocks_;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_DEVICE_MEMORY_H_
