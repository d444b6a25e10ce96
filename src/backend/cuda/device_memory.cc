#include "backend/cuda/device_memory.h"

#include <algorithm>
#include <exception>
#include <string>

#include "backend/cuda/device_error.h"
#include "backend/cuda/packing.h"
#include "base/checked.h"
#include "base/require.h"

namespace carat::cuda {
namespace {

// Two pinned buffers: one is packed while the other is copied.
class PinnedPair {
 public:
  explicit PinnedPair(size_t bytes) {
    for (Half& half : halves_) {
      check(cudaMallocHost(&half.memory, bytes), "allocating pinned memory");
      check(cudaEventCreateWithFlags(&half.copied, cudaEventDisableTiming),
            "making an event");
    }
  }
  ~PinnedPair() {
    for (Half& half : halves_) {
      if (half.copied != nullptr) {
        cudaEventSynchronize(half.copied);
        cudaEventDestroy(half.copied);
      }
      if (half.memory != nullptr) cudaFreeHost(half.memory);
    }
  }
  PinnedPair(const PinnedPair&) = delete;
  PinnedPair& operator=(const PinnedPair&) = delete;

  // The half that may be written now.
  uint8_t* next() {
    current_ ^= 1;
    check(cudaEventSynchronize(halves_[current_].copied),
          "waiting for an upload");
    return static_cast<uint8_t*>(halves_[current_].memory);
  }
  void copy(uint8_t* to, size_t bytes, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, halves_[current_].memory, bytes,
                          cudaMemcpyHostToDevice, stream),
          "uploading weights");
    check(cudaEventRecord(halves_[current_].copied, stream),
          "recording an event");
  }

 private:
  struct Half {
    void* memory = nullptr;
    cudaEvent_t copied = nullptr;
  };
  Half halves_[2];
  int current_ = 0;
};

}  // namespace

DeviceMemory::DeviceMemory(std::shared_ptr<LaunchQueue> queue, int64_t bytes,
                           const char* what)
    : queue_(std::move(queue)), bytes_(bytes) {
  queue_->bind();
  const cudaError_t status =
      cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw Error(ErrorCode::kOutOfMemory, std::string("cuda: ") + what +
                                             " needs " + std::to_string(bytes) +
                                             " bytes; the device has " +
                                             std::to_string(free) + " of " +
                                             std::to_string(total) + " free");
  }
  check(status, what);
}

DeviceMemory::~DeviceMemory() {
  if (data_ == nullptr) return;
  queue_->drain_quietly();
  cudaFree(data_);
}

CudaBuffer::CudaBuffer(const std::shared_ptr<LaunchQueue>& queue,
                       int64_t floats)
    : memory_(queue, floats * 4, "a buffer"), bytes_(floats * 4) {
  queue->zero(memory_.data(), static_cast<size_t>(bytes_));
}

CudaMatrix::CudaMatrix(const std::shared_ptr<LaunchQueue>& queue,
                       const WeightSource& source, ThreadPool& pool)
    : PackedMatrix(source.rows(), source.cols()),
      tiles_(plan_tiles(source.rows(), source.cols(), source.layout())) {
  const int64_t row_bytes = tile_row_bytes(tiles_);
  const int64_t count = tile_row_count(tiles_);
  memory_ = DeviceMemory(queue, row_bytes * count, "a weight matrix");
  tiles_.data = memory_.data();

  constexpr int64_t kPinnedBytes = int64_t{16} << 20;
  const int64_t batch = std::clamp<int64_t>(kPinnedBytes / row_bytes, 1, count);
  PinnedPair pinned(static_cast<size_t>(batch * row_bytes));
  std::vector<QuantizedMatrix> scratch(static_cast<size_t>(pool.size()));
  // Of threads, whose functions must not throw.
  std::vector<std::exception_ptr> failures(scratch.size());
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t rows = std::min(batch, count - first);
    uint8_t* out = pinned.next();
    pool.run([&](int index) {
      const auto own = static_cast<size_t>(index);
      try {
        for (int64_t i = index; i < rows; i += pool.size()) {
          pack_tile_row(source, tiles_, first + i, scratch[own],
                        out + i * row_bytes);
        }
      } catch (...) {
        failures[own] = std::current_exception();
      }
    });
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    pinned.copy(memory_.data() + first * row_bytes,
                static_cast<size_t>(rows * row_bytes), queue->stream());
  }
}

CudaInput::CudaInput(const std::shared_ptr<LaunchQueue>& queue,
                     int64_t max_rows, int64_t cols)
    : LinearInput(max_rows, cols) {
  require(max_rows >= 0 && cols > 0, "make_input: sizes out of range");
  slab_.capacity = static_cast<int32_t>(
      round_up(std::max<int64_t>(max_rows, 1), kTileRows / 8));
  slab_.k_tiles = static_cast<int32_t>(ceil_div(cols, kTileCols));
  const int64_t bytes = int64_t{slab_.capacity} * slab_.k_tiles * kTileCols * 2;
  memory_ = DeviceMemory(queue, bytes, "activations");
  queue->zero(memory_.data(), static_cast<size_t>(bytes));
  slab_.data = memory_.data();
}

int64_t padded_head_dim(int64_t head_dim) {
  return head_dim <= 64    ? 64
         : head_dim <= 128 ? 128
                           : round_up(head_dim, int64_t{256});
}

CudaKv::CudaKv(std::shared_ptr<LaunchQueue> queue, const KvLayout& layout)
    : KvStorage(layout), queue_(std::move(queue)) {
  require(
      layout.layers > 0 && layout.kv_heads > 0 && layout.head_dim > 0 &&
          layout.head_dim % 8 == 0,
      "make_kv: head_dim is not a multiple of 8, or a size is not positive");
  block_bytes_ = int64_t{2} * layout.layers * layout.kv_heads * kBlockTokens *
                 padded_head_dim(layout.head_dim) * 2;
  // All alike, so that a plan can count them.
  constexpr int64_t kMostSlabBytes = int64_t{32} << 20;
  slab_blocks_ = std::max<int64_t>(kMostSlabBytes / block_bytes_, 1);
}

void CudaKv::grow(int64_t blocks) {
  while (this->blocks() < blocks) {
    try {
      add_slab(slab_blocks_);
    } catch (const Error& error) {
      // Near the end of memory: no more than is needed.
      const int64_t needed = blocks - this->blocks();
      if (error.code() != ErrorCode::kOutOfMemory || needed >= slab_blocks_) {
        throw;
      }
      add_slab(needed);
    }
  }
}

void CudaKv::add_slab(int64_t count) {
  const int64_t bytes = count * block_bytes_;
  slabs_.emplace_back(queue_, bytes, "KV blocks");
  queue_->zero(slabs_.back().data(), static_cast<size_t>(bytes));
  for (int64_t i = 0; i < count; ++i) {
    blocks_.push_back(slabs_.back().data() + i * block_bytes_);
  }
}

}  // namespace carat::cuda
