// One block of 64 keys against 16 queries, in the fixed arithmetic of
// docs/numerics-cuda.md: scores, their own maximum, weights, weighted values.
// Every block stands for itself. The even blocks are then merged in ascending
// order, so are the odd ones, and last the two: any division of blocks among
// thread blocks gives the same bits.
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

// f16 tiles of kRows rows lie in panels of 64 columns: rows of 128 bytes, whose
// 16-byte chunks are swapped by row & 7. Keys and values lie so in the cache
// too.
template <int kRows>
__device__ __forceinline__ uint32_t panel_address(uint32_t base, int row,
                                                  int chunk) {
  return base + chunk / 8 * (kRows * 128) + row * 128 +
         (((chunk ^ row) & 7) << 4);
}

template <int kDim>
inline constexpr int kBlockBytes = kKeys* kDim * 2;  // of keys, or of values

// Keys or values of a block to shared memory. All threads take part.
template <int kDim>
__device__ __forceinline__ void load_block(uint32_t to, const uint8_t* from) {
  for (int i = threadIdx.x * 16; i < kBlockBytes<kDim>; i += blockDim.x * 16) {
    copy_async(to + i, from + i);
  }
}

// Scores of 16 queries (rows `first_query`.. of the tile) and the keys
// [8 * first, 8 * (first + kCount)), before scaling by softcap and masking.
template <int kDim, int kQueries, int kCount>
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
    load_matrices(a, panel_address<kQueries>(queries, first_query + lane % 16,
                                             2 * step + lane / 16));
#pragma unroll
    for (int j = 0; j < kCount; j += 2) {
      uint32_t b[4];
      load_matrices(b, panel_address<kKeys>(
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

__device__ __forceinline__ float capped(float score, float softcap) {
  return __fmul_rn(softcap, tanhf(__fdiv_rn(score, softcap)));
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
// of the keys 8 j + 2 q and the next. `sides` 1: there are no rows g + 8.
__device__ __forceinline__ BlockWeights weigh(const float (&score)[8][4],
                                              int sides) {
  BlockWeights w = {};
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    if (side >= sides) break;
    float largest = kMinusInfinity;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      largest =
          fmaxf(largest, fmaxf(score[j][2 * side], score[j][2 * side + 1]));
    }
    largest = quad_max(largest);
    // Without a visible key every weight is exp(-inf) = 0.
    const float base =
        largest == kMinusInfinity ? 0.0f : __fmul_rn(largest, -kLog2E);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float low =
          power_of_two(__fmaf_rn(score[j][2 * side], kLog2E, base));
      const float high =
          power_of_two(__fmaf_rn(score[j][2 * side + 1], kLog2E, base));
      sum = __fadd_rn(sum, __fadd_rn(low, high));
      w.p[j / 2][2 * (j % 2) + side] = half_pair(low, high);
    }
    w.largest[side] = largest;
    w.sum[side] = quad_sum(sum);
  }
  return w;
}

// Weighted values of the dimensions [16 * column, + 16): value[half] holds 8.
__device__ __forceinline__ void weigh_values(const BlockWeights& w,
                                             uint32_t values, int column,
                                             float (&value)[2][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) value[0][i] = value[1][i] = 0;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    uint32_t b[4];
    load_transposed(b, panel_address<kKeys>(values, 16 * step + lane % 16,
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

// What the blocks of a chain, or both chains, give for one row and a few of its
// columns.
template <int kCols>
struct Chain {
  float largest = kMinusInfinity;
  float sum = 0;
  float out[kCols] = {};

  __device__ __forceinline__ void add(const Chain& next) {
    const MergeFactors f = merge_factors(largest, next.largest);
    largest = f.largest;
    sum = merged(sum, next.sum, f);
#pragma unroll
    for (int i = 0; i < kCols; ++i) out[i] = merged(out[i], next.out[i], f);
  }
};

// Merges `blocks` blocks from `first_block` on; load(i) gives the i-th.
template <int kCols, class Load>
__device__ __forceinline__ Chain<kCols> merge_blocks(int64_t first_block,
                                                     int blocks,
                                                     const Load& load) {
  Chain<kCols> chains[2];
  const int odd = static_cast<int>(first_block & 1);
#pragma unroll
  for (int parity = 0; parity < 2; ++parity) {
#pragma unroll 4
    for (int i = parity ^ odd; i < blocks; i += 2) {
      chains[parity].add(load(i));
    }
  }
  chains[0].add(chains[1]);
  return chains[0];
}

// 0 * anything added: -0 becomes 0, so it does not tell which blocks were
// visited. `inverse`: 1 / sum.
__device__ __forceinline__ float finished(float value, float inverse) {
  return __fadd_rn(__fmul_rn(value, inverse), 0.0f);
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_BLOCK_CUH_
