// A warp's weights of linear_small: its range of one slice, and, where its
// thread block takes slices in turn, of the next ones: as a k tile has been
// multiplied, the next slice's takes its place in shared memory.
#ifndef CARAT_BACKEND_CUDA_RANGE_WEIGHTS_CUH_
#define CARAT_BACKEND_CUDA_RANGE_WEIGHTS_CUH_

#include <cstdint>

#include "backend/cuda/barrier.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

// A range of a slice, as it is packed: [k tile][slice_bytes]. A lane copies the
// codes that it will read itself. `slowly`: two tiles at a time. kMarked: to
// leave the L2 cache first (not in turns: docs/performance.md, "Two traps").
template <int kBits, bool kMarked>
__device__ __forceinline__ void load_weights(const uint8_t* from,
                                             int slice_bytes, int count,
                                             uint32_t to, bool slowly) {
  const int lane = threadIdx.x % 32;
  const uint64_t policy = kMarked ? evict_first_policy() : 0;
  const int64_t stride = int64_t{kSlices} * slice_bytes;
  const auto copy = [&](int i, int at) {
    const uint32_t place = to + i * slice_bytes + at;
    if constexpr (kMarked) {
      copy_async(place, from + i * stride + at, policy);
    } else {
      copy_async(place, from + i * stride + at);
    }
  };
#pragma unroll 8
  for (int i = 0; i < count; ++i) {
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      copy(i, plane * 512 + lane * 16);
    }
    if (slowly) {
      commit_copies();
      wait_copies<1>();
    }
  }
  // Scales: a power of two of chunks a tile.
  const int chunks = (slice_bytes - 128 * kBits) / 16;
  const int shift = 31 - __clz(chunks);
  for (int c = lane; c < count * chunks; c += 32) {
    copy(c >> shift, 128 * kBits + (c & (chunks - 1)) * 16);
  }
}

// What becomes of the tiles of a range in shared memory as they are read, in
// order. All lanes of a warp call the same. Not kTurns: nothing.
template <int kBits, bool kTurns>
struct TileTurns {
  const LinearCall& call;
  const uint8_t* next;  // the next slice's tile, to be copied next
  bool has_next;

  // Until the next tile in order is there. Between a tile's copy and its
  // reading lie those of all others, or of all but one (multiply_steps).
  __device__ __forceinline__ void await_tile() const {
    if constexpr (!kTurns) return;
    if (call.input.k_tiles > kLongTiles) {
      wait_copies<2 * kBlockTiles - 2>();
    } else {
      wait_copies<kBlockTiles - 2>();
    }
    __syncwarp();
  }
  // The tile at `place` has been read: the next slice's may come.
  __device__ __forceinline__ void replace_tile(uint32_t place,
                                               int slice_bytes) {
    if constexpr (!kTurns) return;
    __syncwarp();
    if (has_next) {
      const int at = threadIdx.x % 32 * 16;
#pragma unroll
      for (int plane = 0; plane < kBits / 4; ++plane) {
        copy_async(place + plane * 512 + at, next + plane * 512 + at);
      }
      if (128 * kBits + at < slice_bytes) {
        copy_async(place + 128 * kBits + at, next + 128 * kBits + at);
      }
      next += kSlices * slice_bytes;
    }
    commit_copies();
  }
  // After a range's last tile: as many copies as if it were whole.
  __device__ __forceinline__ void end_range(int count) const {
    if constexpr (kTurns) {
      for (int i = count; i < range_tiles(call.input.k_tiles); ++i) {
        commit_copies();
      }
    }
  }
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_RANGE_WEIGHTS_CUH_
