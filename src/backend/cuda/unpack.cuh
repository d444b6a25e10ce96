// Codes of a slice (weight_format.h) to the bf16 fragments of m16n8k16 steps.
#ifndef CARAT_BACKEND_CUDA_UNPACK_CUH_
#define CARAT_BACKEND_CUDA_UNPACK_CUH_

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/weight_format.h"

namespace carat::cuda {

__device__ __forceinline__ __nv_bfloat162 as_bf16(uint32_t bits) {
  return *reinterpret_cast<__nv_bfloat162*>(&bits);
}
__device__ __forceinline__ uint32_t as_bits(__nv_bfloat162 pair) {
  return *reinterpret_cast<uint32_t*>(&pair);
}

// A lane's codes of one k tile: 1 or 2 vectors of 16 bytes.
template <int kBits>
struct LaneCodes {
  uint4 planes[kBits / 4];
};

// A lane's scales of one group as stored, rows g and g + 8 in the halves of a
// register, and what is added to codes times scales.
struct LaneScale {
  __nv_bfloat162 scale;
  __nv_bfloat162 bias;
};

// Without biases: the centre as the number that it is among the codes.
template <int kBits>
__device__ __forceinline__ uint32_t minus_centre(int side) {
  return 0x8000u | centre_of(kBits) << code_shift(kBits, side);
}
template <int kBits, bool kBias>
__device__ __forceinline__ LaneScale scale_of(uint32_t scales,
                                              uint32_t biases) {
  if constexpr (kBias) return {as_bf16(scales), as_bf16(biases)};
  const uint32_t centres = minus_centre<kBits>(0) | minus_centre<kBits>(1)
                                                        << 16;
  return {as_bf16(scales), __hmul2(as_bf16(scales), as_bf16(centres))};
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// The codes of fragment register x of step `s` as bf16 numbers (x and s are
// constants after unrolling).
template <int kBits>
__device__ __forceinline__ __nv_bfloat162
codes_of(const LaneCodes<kBits>& codes, int s, int x) {
  if constexpr (kBits == 4) {
    const uint32_t word = word_of(codes.planes[0], s) >> (x >> 1 << 3);
    return as_bf16(word & ((x & 1) == 0 ? 0x000f000fu : 0x00f000f0u));
  } else {
    const uint32_t word = word_of(codes.planes[s / 2], 2 * (s & 1) + (x >> 1));
    return as_bf16(__byte_perm(word, 0, (x & 1) == 0 ? 0x4240 : 0x4341));
  }
}

// Codes to weights times 2^-32, rounded once. The selection of a half is part
// of the instruction.
__device__ __forceinline__ uint32_t weights_of(__nv_bfloat162 codes,
                                               const LaneScale& scale,
                                               int side) {
  const auto half = [&](__nv_bfloat162 pair) {
    return side == 0 ? __low2bfloat162(pair) : __high2bfloat162(pair);
  };
  return as_bits(__hfma2(codes, half(scale.scale), half(scale.bias)));
}

// Step `s` as fragment registers.
template <int kBits>
__device__ __forceinline__ void expand(const LaneCodes<kBits>& codes, int s,
                                       const LaneScale& scale,
                                       uint32_t (&a)[4]) {
#pragma unroll
  for (int x = 0; x < 4; ++x) {
    a[x] = weights_of(codes_of<kBits>(codes, s, x), scale, x & 1);
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_UNPACK_CUH_
