// A warp multiplies a range of a slice (16 outputs) by up to 8 * kTiles rows, k
// tile by k tile: codes from shared memory, expanded in registers to the A
// fragments of m16n8k16 steps. What bounds it: docs/performance.md, "Few rows".
#ifndef CARAT_BACKEND_CUDA_FEW_ROWS_CUH_
#define CARAT_BACKEND_CUDA_FEW_ROWS_CUH_

#include <cstdint>
#include <type_traits>

#include "backend/cuda/mma.cuh"
#include "backend/cuda/range_weights.cuh"
#include "backend/cuda/unpack.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

// A lane's part of a tile: codes, and the scales of its rows by group.
template <int kBits, bool kBias, int kGroups>
struct TilePart {
  LaneCodes<kBits> codes;
  uint32_t scales[kGroups];
  uint32_t biases[kGroups];

  __device__ __forceinline__ void load(const uint8_t* slice) {
    const int lane = threadIdx.x % 32;
    constexpr int kWords = kGroupWords * (kBias ? 2 : 1);
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      codes.planes[plane] =
          *reinterpret_cast<const uint4*>(slice + plane * 512 + lane * 16);
    }
    const auto* words =
        reinterpret_cast<const uint32_t*>(slice + 128 * kBits) + lane / 4;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      scales[i] = words[i * kWords];
      biases[i] = kBias ? words[i * kWords + kGroupWords] : 0u;
    }
  }
  // Step `s` as fragment registers; steps in order, which share `scale`.
  __device__ __forceinline__ void expand_step(int s, LaneScale& scale,
                                              uint32_t (&a)[4]) const {
    constexpr int kShare = kStepsPerTile / kGroups;
    if (s % kShare == 0) {
      scale = scale_of<kBits, kBias>(scales[s / kShare], biases[s / kShare]);
    }
    expand<kBits>(codes, s, scale, a);
  }
};

// The B fragments of one k tile after the other.
template <int kTiles>
struct TileRows {
  uint32_t address[kTiles][2];
  int stride[kTiles];

  // A lane finds row `lane % 8` of each eight; zeros where none is.
  __device__ __forceinline__ TileRows(uint32_t activations, uint32_t zeros,
                                      int rows) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const int row = 8 * j + lane % 8;
      stride[j] = row < rows ? rows * 128 : 0;
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        const int chunk = (4 * pair + lane / 8) ^ (row & 7);
        address[j][pair] =
            row < rows ? activations + row * 128 + chunk * 16 : zeros;
      }
    }
  }
  // The next call's are a tile further, if there is one.
  __device__ __forceinline__ void load(uint32_t (&b)[kTiles][2][4],
                                       bool has_next) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        load_matrices(b[j][pair], address[j][pair]);
        if (has_next) address[j][pair] += stride[j];
      }
    }
  }
};

template <int kTiles>
__device__ __forceinline__ void multiply_step(float (&sum)[kTiles][4],
                                              const uint32_t (&a)[4],
                                              const uint32_t (&b)[kTiles][2][4],
                                              int s) {
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    mma_bf16(sum[j], a, b[j][s / 2][2 * (s % 2)], b[j][s / 2][2 * (s % 2) + 1]);
  }
}

// kGroupSteps: steps that share a scale. A step waits for the one before it, so
// the next tile is expanded step by step in between: with few warps on a
// multiprocessor it is the length of this chain that counts. `turns` is told of
// the tiles of `weights`: before one is read and when it has been. What needs
// no activations is done before await_rows().
template <int kBits, int kTiles, bool kBias, int kGroupSteps, bool kTurns,
          class AwaitRows>
__device__ __forceinline__ void multiply_steps(
    TileTurns<kBits, kTurns>& turns, const uint8_t* weights, int slice_bytes,
    int count, uint32_t activations, uint32_t zeros, int rows,
    const AwaitRows& await_rows, float (&sum)[kTiles][4]) {
  constexpr int kGroups = kStepsPerTile / kGroupSteps;
  TilePart<kBits, kBias, kGroups> part[2];
  uint32_t b[2][kTiles][2][4];
  uint32_t a[kStepsPerTile][4];
  TileRows<kTiles> tiles(activations, zeros, rows);
  LaneScale scale;
  const uint32_t place = shared_address(weights);
  // Tile i: its activations are there, and the next one's codes. What is loaded
  // or expanded past the last tile no one reads.
  const auto multiply = [&](int i, auto odd) {
    constexpr int kOdd = decltype(odd)::value;
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      multiply_step<kTiles>(sum, a[s], b[kOdd], s);
      if (s == 0) {
        if (!kTurns || i + 2 < count) {
          turns.await_tile();
          part[kOdd].load(weights + min(i + 2, count - 1) * slice_bytes);
        }
      }
      if (s == 1) tiles.load(b[1 - kOdd], i + 2 < count);
      part[1 - kOdd].expand_step(s, scale, a[s]);
    }
    if (i + 1 < count) {
      turns.replace_tile(place + (i + 1) * slice_bytes, slice_bytes);
    }
  };
  turns.await_tile();
  part[0].load(weights);
  if (count > 1) turns.await_tile();
  part[1].load(weights + (count > 1 ? slice_bytes : 0));
#pragma unroll
  for (int s = 0; s < kStepsPerTile; ++s) part[0].expand_step(s, scale, a[s]);
  await_rows();
  turns.replace_tile(place, slice_bytes);
  tiles.load(b[0], count > 1);
#pragma unroll 1
  for (int i = 0; i < count; i += 2) {
    multiply(i, std::integral_constant<int, 0>());
    if (i + 1 < count) multiply(i + 1, std::integral_constant<int, 1>());
  }
  turns.end_range(count);
}

// The same in half the registers: where there are enough slices (gated), more
// warps hide what one waits for. Unrolled, a warp would run through it once,
// waiting for its instructions.
template <int kBits, int kTiles, bool kBias, int kGroupSteps, bool kTurns,
          class AwaitRows>
__device__ __forceinline__ void multiply_short(
    TileTurns<kBits, kTurns>& turns, const uint8_t* weights, int slice_bytes,
    int count, uint32_t activations, uint32_t zeros, int rows,
    const AwaitRows& await_rows, float (&sum)[kTiles][4]) {
  TileRows<kTiles> tiles(activations, zeros, rows);
  TilePart<kBits, kBias, kStepsPerTile / kGroupSteps> part;
  uint32_t place = shared_address(weights);
  turns.await_tile();
  part.load(weights);
  await_rows();
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    uint32_t b[kTiles][2][4];
    tiles.load(b, true);
    LaneScale scale;
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      uint32_t a[4];
      part.expand_step(s, scale, a);
      multiply_step<kTiles>(sum, a, b, s);
    }
    turns.replace_tile(place, slice_bytes);
    place += slice_bytes;
    if (i + 1 < count) weights += slice_bytes;
    if (!kTurns || i + 1 < count) {
      turns.await_tile();
      part.load(weights);
    }
  }
  turns.end_range(count);
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_FEW_ROWS_CUH_
