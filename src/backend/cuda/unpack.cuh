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

// (word & mask) | 0x43004300 in one instruction: two constants, of which the
// compiler would make two.
__device__ __forceinline__ uint32_t onto_128(uint32_t word, uint32_t mask) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, 0x43004300, 0xea;"
      : "=r"(result)
      : "r"(word), "r"(mask));
  return result;
}
// A constant that the compiler does not fold.
__device__ __forceinline__ uint32_t opaque(uint32_t value) {
  asm("" : "+r"(value));
  return value;
}

// A lane's codes of one k tile: 1 or 2 vectors of 16 bytes.
template <int kBits>
struct LaneCodes {
  uint4 planes[kBits / 4];
};

// Scale and bias of rows g and g + 8, each twice in a register.
struct LaneScale {
  __nv_bfloat162 scale[2];
  __nv_bfloat162 bias[2];
};

__device__ __forceinline__ LaneScale spread(uint32_t scales, uint32_t biases) {
  LaneScale result;
  result.scale[0] = as_bf16(__byte_perm(scales, 0, 0x1010));
  result.scale[1] = as_bf16(__byte_perm(scales, 0, 0x3232));
  result.bias[0] = as_bf16(__byte_perm(biases, 0, 0x1010));
  result.bias[1] = as_bf16(__byte_perm(biases, 0, 0x3232));
  return result;
}

// What is subtracted from 0x4300 | code = 128 + code.
__device__ __forceinline__ uint32_t centre_pair(const WeightTiles& tiles) {
  const __nv_bfloat16 value =
      __float2bfloat16_rn(128.0f + static_cast<float>(tiles.centre));
  return as_bits(__halves2bfloat162(value, value));
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Step `s` (a constant after unrolling) as fragment registers.
template <int kBits>
__device__ __forceinline__ void expand(const LaneCodes<kBits>& codes, int s,
                                       const LaneScale& scale, uint32_t centre,
                                       uint32_t (&a)[4]) {
  if constexpr (kBits == 4) {
    const uint32_t word = word_of(codes.planes[0], s);
#pragma unroll
    for (int x = 0; x < 4; ++x) {
      const uint32_t code = onto_128(word >> (4 * x), opaque(0x000f000fu));
      const __nv_bfloat162 w = __hsub2(as_bf16(code), as_bf16(centre));
      a[x] = as_bits(__hfma2(w, scale.scale[x & 1], scale.bias[x & 1]));
    }
  } else {
#pragma unroll
    for (int x = 0; x < 4; ++x) {
      const uint32_t word =
          word_of(codes.planes[s / 2], 2 * (s & 1) + (x >> 1)) >> (8 * (x & 1));
      // Seven bits onto 128, the sign bit onto 128 or 256: two's complement.
      const uint32_t low = (word & 0x007f007fu) | 0x43004300u;
      const uint32_t sign = (word & 0x00800080u) | 0x43004300u;
      const __nv_bfloat162 w = __hsub2(as_bf16(low), as_bf16(sign));
      a[x] = as_bits(__hfma2(w, scale.scale[x & 1], scale.bias[x & 1]));
    }
  }
}

// The same for one row of the lane's two (side 0: g, 1: g + 8): registers for
// k = 2q and for k = 2q + 8.
template <int kBits>
__device__ __forceinline__ uint2 expand_side(const LaneCodes<kBits>& codes,
                                             int s, int side, uint32_t centre,
                                             __nv_bfloat162 scale,
                                             __nv_bfloat162 bias) {
  uint32_t a[2];
#pragma unroll
  for (int high = 0; high < 2; ++high) {
    __nv_bfloat162 w;
    if constexpr (kBits == 4) {
      const uint32_t word =
          word_of(codes.planes[0], s) >> (4 * side + 8 * high);
      w = __hsub2(as_bf16(onto_128(word, opaque(0x000f000fu))),
                  as_bf16(centre));
    } else {
      const uint32_t word =
          word_of(codes.planes[s / 2], 2 * (s & 1) + high) >> (8 * side);
      w = __hsub2(as_bf16((word & 0x007f007fu) | 0x43004300u),
                  as_bf16((word & 0x00800080u) | 0x43004300u));
    }
    a[high] = as_bits(__hfma2(w, scale, bias));
  }
  return {a[0], a[1]};
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_UNPACK_CUH_
