#include "backend/cuda/staging_buffer.h"

#include <cstring>

#include "backend/cuda/device_error.h"

namespace carat::cuda {

StagingBuffer::StagingBuffer(size_t capacity) : capacity_(capacity) {
  try {
    void* memory = nullptr;
    check(cudaMalloc(&memory, capacity), "allocating the staging buffer");
    device_ = static_cast<std::byte*>(memory);
    for (Slot& slot : slots_) {
      check(cudaMallocHost(&memory, capacity), "allocating pinned memory");
      slot.memory = static_cast<std::byte*>(memory);
      std::memset(slot.memory, 0, capacity);
      check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming),
            "making an event");
    }
  } catch (...) {
    free();
    throw;
  }
}

StagingBuffer::~StagingBuffer() { free(); }

void StagingBuffer::free() noexcept {
  for (Slot& slot : slots_) {
    if (slot.copied != nullptr) cudaEventDestroy(slot.copied);
    if (slot.memory != nullptr) cudaFreeHost(slot.memory);
  }
  if (device_ != nullptr) cudaFree(device_);
}

size_t StagingBuffer::room_for(size_t bytes) {
  constexpr size_t kAlignment = 256;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

const void* StagingBuffer::stage(const void* data, size_t bytes, size_t room) {
  Slot& slot = slots_[slot_];
  if (slot.in_use) {
    check(cudaEventSynchronize(slot.copied), "waiting for a staging copy");
    slot.in_use = false;
  }
  for (const Staged& staged : staged_) {
    if (staged.bytes == bytes &&
        std::memcmp(slot.memory + staged.offset, data, bytes) == 0) {
      return device_ + staged.offset;
    }
  }
  const Staged staged{used_, bytes};
  std::memcpy(slot.memory + staged.offset, data, bytes);
  staged_.push_back(staged);
  used_ += room_for(room);
  return device_ + staged.offset;
}

void StagingBuffer::copy(cudaStream_t stream) {
  if (used_ > 0) {
    Slot& slot = slots_[slot_];
    check(cudaMemcpyAsync(device_, slot.memory, used_, cudaMemcpyHostToDevice,
                          stream),
          "copying to the device");
    check(cudaEventRecord(slot.copied, stream), "recording an event");
    slot.in_use = true;
    slot_ = (slot_ + 1) % kSlots;
  }
  forget();
}

void StagingBuffer::forget() noexcept {
  staged_.clear();
  used_ = 0;
}

}  // namespace carat::cuda
