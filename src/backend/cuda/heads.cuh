// One head of a row in a warp's registers: RMSNorm, RoPE, and its place in the
// cache. A lane has four columns of either half.
#ifndef CARAT_BACKEND_CUDA_HEADS_CUH_
#define CARAT_BACKEND_CUDA_HEADS_CUH_

#include <cuda_fp16.h>

#include <cstdint>

#include "backend/cuda/attention_block.cuh"

namespace carat::cuda {

// Rounds to nearest; NaN becomes 0, what is too large the largest number: the
// cache holds finite numbers only.
__device__ __forceinline__ float finite(float value) {
  constexpr float kLargest = 65504.0f;
  if (value != value) return 0.0f;
  return fminf(fmaxf(value, -kLargest), kLargest);
}

// Four columns of either half of a head.
struct HalfPair {
  float a[4];
  float b[4];
};

__device__ __forceinline__ HalfPair load_halves(const float* from, int half,
                                                int col) {
  const float4 a = *reinterpret_cast<const float4*>(from + col);
  const float4 b = *reinterpret_cast<const float4*>(from + half + col);
  return {{a.x, a.y, a.z, a.w}, {b.x, b.y, b.z, b.w}};
}

// inverse_dim: 1 / head_dim.
__device__ __forceinline__ void scale_head(HalfPair& x, const HalfPair& norm,
                                           float inverse_dim, float eps) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = __fmaf_rn(x.a[i], x.a[i], sum);
    sum = __fmaf_rn(x.b[i], x.b[i], sum);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, step));
  }
  const float factor = norm_factor(sum, inverse_dim, eps);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x.a[i] = __fmul_rn(__fmul_rn(x.a[i], factor), norm.a[i]);
    x.b[i] = __fmul_rn(__fmul_rn(x.b[i], factor), norm.b[i]);
  }
}

__device__ __forceinline__ void rotate(HalfPair& x, const HalfPair& angles) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = x.a[i], b = x.b[i];
    const float cosine = angles.a[i], sine = angles.b[i];
    x.a[i] = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
    x.b[i] = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
  }
}

__device__ __forceinline__ void store_quad(float* to, const float (&x)[4]) {
  *reinterpret_cast<float4*>(to) = {x[0], x[1], x[2], x[3]};
}

__device__ __forceinline__ uint2 to_halves(const float (&x)[4]) {
  const __half2 pair[2] = {__floats2half2_rn(x[0], x[1]),
                           __floats2half2_rn(x[2], x[3])};
  return *reinterpret_cast<const uint2*>(pair);
}

// As the cache holds them.
__device__ __forceinline__ uint2 to_cached(const float (&x)[4]) {
  const float y[4] = {finite(x[0]), finite(x[1]), finite(x[2]), finite(x[3])};
  return to_halves(y);
}

// Where a column lies in the panels of a head in a block (BlockPart).
__device__ __forceinline__ int place_in_panels(int position, int col) {
  return static_cast<int>(panel_address<kKeys>(0, position, col / 8)) +
         col % 8 * 2;
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_HEADS_CUH_
