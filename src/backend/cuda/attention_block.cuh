// One block of 64 keys against 16 queries, in the fixed arithmetic of
// docs/numerics-cuda.md: scores, their own maximum, weights, weighted values.
// Every block stands for itself and is then merged in ascending order, so any
// division of blocks among thread blocks gives the same bits.
#ifndef CARAT_BACKEND_CUDA_ATTENTION_BLOCK_CUH_
#define CARAT_BACKEND_CUDA_ATTENTION_BLOCK_CUH_

#include <cuda_fp16.h>

#include <cstdint>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/mma.cuh"

namespace carat::cuda {

inline constexpr int kKeys = 64;  // = kBlockTokens
inline constexpr float kMinusInfinity = -__builtin_huge_valf();

// Rows of kDim f16 in shared memory, 16-byte chunks swapped by row & 7.
template <int kDim>
__device__ __forceinline__ uint32_t tile_address(uint32_t base, int row,
                                                 int chunk) {
  return base + row * (kDim * 2) + ((chunk ^ (row & 7)) << 4);
}

// 64 rows of a cache block to shared memory; columns past head_dim are left as
// they are (zeroed once). All threads of the block take part.
template <int kDim>
__device__ __forceinline__ void load_rows(uint32_t to, const uint8_t* from,
                                          int head_dim) {
  const int chunks = head_dim / 8;
  for (int i = threadIdx.x; i < kKeys * (kDim / 8); i += blockDim.x) {
    const int row = i / (kDim / 8), chunk = i % (kDim / 8);
    if (chunk < chunks) {
      copy_async(tile_address<kDim>(to, row, chunk),
                 from + (int64_t{row} * head_dim + chunk * 8) * 2);
    }
  }
}

// Scores of 16 queries (rows `first_query`.. of the tile) and the keys
// [8 * first, 8 * (first + kCount)), before scaling by softcap and masking.
template <int kDim, int kCount>
__device__ __forceinline__ void score_keys(uint32_t queries, int first_query,
                                           uint32_t keys, int first,
                                           float (&score)[kCount][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) score[j][i] = 0;
  }
#pragma unroll 4
  for (int step = 0; step < kDim / 16; ++step) {
    uint32_t a[4];
    load_matrices(a, tile_address<kDim>(queries, first_query + lane % 16,
                                        2 * step + lane / 16));
#pragma unroll
    for (int j = 0; j < kCount; j += 2) {
      uint32_t b[4];
      load_matrices(b, tile_address<kDim>(
                           keys, 8 * (first + j) + lane % 8 + lane / 16 * 8,
                           2 * step + lane / 8 % 2));
      mma_f16(score[j], a, b[0], b[1]);
      mma_f16(score[j + 1], a, b[2], b[3]);
    }
  }
}

// Which keys a query sees: [begin, end).
struct Visible {
  int64_t begin;
  int64_t end;
};

__device__ __forceinline__ float finish_score(float score, float softcap,
                                              bool is_visible) {
  if (softcap > 0) {
    score = __fmul_rn(softcap, tanhf(__fdiv_rn(score, softcap)));
  }
  return is_visible ? score : kMinusInfinity;
}

// Over the four lanes that share a row.
__device__ __forceinline__ float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}
__device__ __forceinline__ float quad_sum(float value) {
  value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

// A block's weights, as f16 fragments, and per row (g, g + 8) the block's
// largest score and the sum of its weights.
struct BlockWeights {
  uint32_t p[kKeys / 16][4];
  float largest[2];
  float sum[2];
};

__device__ __forceinline__ uint32_t half_pair(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// From the finished scores of all 64 keys: lane 4 g + q holds rows g and g + 8
// of the keys 8 j + 2 q and the next.
__device__ __forceinline__ BlockWeights weigh(const float (&score)[8][4]) {
  BlockWeights w;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    float largest = kMinusInfinity;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      largest =
          fmaxf(largest, fmaxf(score[j][2 * side], score[j][2 * side + 1]));
    }
    largest = quad_max(largest);
    // Without a visible key every weight is exp(-inf) = 0.
    const float base = largest == kMinusInfinity ? 0.0f : largest;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float low = fast_exp(__fsub_rn(score[j][2 * side], base));
      const float high = fast_exp(__fsub_rn(score[j][2 * side + 1], base));
      sum = __fadd_rn(sum, __fadd_rn(low, high));
      w.p[j / 2][2 * (j % 2) + side] = half_pair(low, high);
    }
    w.largest[side] = largest;
    w.sum[side] = quad_sum(sum);
  }
  return w;
}

// Weighted values of the dimensions [16 * column, + 16): value[half] holds 8.
template <int kDim>
__device__ __forceinline__ void weigh_values(const BlockWeights& w,
                                             uint32_t values, int column,
                                             float (&value)[2][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) value[0][i] = value[1][i] = 0;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    uint32_t b[4];
    load_transposed(b, tile_address<kDim>(values, 16 * step + lane % 16,
                                          2 * column + lane / 16));
    mma_f16(value[0], w.p[step], b[0], b[1]);
    mma_f16(value[1], w.p[step], b[2], b[3]);
  }
}

// How a block joins the blocks before it: new = old * keep + block * add. A
// block without a visible key has add = 0 and keep = 1: it changes nothing.
struct MergeFactors {
  float largest;
  float keep;
  float add;
};

__device__ __forceinline__ MergeFactors merge_factors(float largest,
                                                      float block_largest) {
  const float joint = fmaxf(largest, block_largest);
  const float base = joint == kMinusInfinity ? 0.0f : joint;
  return {joint, fast_exp(__fsub_rn(largest, base)),
          fast_exp(__fsub_rn(block_largest, base))};
}

__device__ __forceinline__ float merged(float old, float block,
                                        const MergeFactors& f) {
  return __fmaf_rn(block, f.add, __fmul_rn(old, f.keep));
}

// 0 * anything added: -0 becomes 0, so it does not tell which blocks were
// visited.
__device__ __forceinline__ float finished(float value, float sum) {
  return __fadd_rn(__fmul_rn(value, __fdiv_rn(1.0f, sum)), 0.0f);
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_BLOCK_CUH_
