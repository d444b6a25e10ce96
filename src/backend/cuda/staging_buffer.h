// What the host says about a chunk (tokens, positions, block tables), gathered
// in pinned memory and copied to the device in one piece.
#ifndef CARAT_BACKEND_CUDA_STAGING_BUFFER_H_
#define CARAT_BACKEND_CUDA_STAGING_BUFFER_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace carat::cuda {

/// Of one stream. Not thread-safe; the stream must have ended its work when
/// this is destroyed.
class StagingBuffer {
 public:
  /// Throws: Error{kOutOfMemory}, Error{kDevice}.
  explicit StagingBuffer(size_t capacity);
  ~StagingBuffer();
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;

  size_t capacity() const { return capacity_; }
  /// Bytes taken since the last copy.
  size_t used() const { return used_; }
  /// What stage() takes for so many bytes.
  static size_t room_for(size_t bytes);

  /// Takes room_for(room) >= bytes, which must be left, for `bytes` of host
  /// data; returns where they will lie on the device. Equal data staged twice
  /// is staged once. Throws: Error{kDevice}.
  const void* stage(const void* data, size_t bytes, size_t room);
  /// Copies all that was staged and begins anew. Throws: Error{kDevice}.
  void copy(cudaStream_t stream);
  /// Begins anew without copying.
  void forget() noexcept;

 private:
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
  static constexpr int kSlots = 4;

  void free() noexcept;

  size_t capacity_;
  size_t used_ = 0;
  std::vector<Staged> staged_;
  std::byte* device_ = nullptr;
  Slot slots_[kSlots];
  int slot_ = 0;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_STAGING_BUFFER_H_
