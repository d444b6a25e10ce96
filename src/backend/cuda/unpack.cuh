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

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// (code - centre) as bf16, from 0x4300 | code = 128 + code.
__device__ __forceinline__ __nv_bfloat162 centred(uint32_t code) {
  const __nv_bfloat16 centre = __float2bfloat16_rn(128.0f + kCentre4);
  return __hsub2(as_bf16(code), __halves2bfloat162(centre, centre));
}

// Two codes in two's complement, from the low bytes of a word's halves: seven
// bits onto 128, the sign bit onto 128 or 256.
__device__ __forceinline__ __nv_bfloat162 signed_bytes(uint32_t word) {
  const uint32_t low = (word & 0x007f007fu) | 0x43004300u;
  const uint32_t sign = (word & 0x00800080u) | 0x43004300u;
  return __hsub2(as_bf16(low), as_bf16(sign));
}

// The codes of fragment register x + side of step `s` (x and s constants after
// unrolling, and x even where `side` is not 0).
template <int kBits>
__device__ __forceinline__ __nv_bfloat162
codes_of(const LaneCodes<kBits>& codes, int s, int x, int side = 0) {
  if constexpr (kBits == 4) {
    const uint32_t word = word_of(codes.planes[0], s) >> (4 * x + 4 * side);
    return centred(onto_128(word, opaque(0x000f000fu)));
  } else {
    const uint32_t word = word_of(codes.planes[s / 2], 2 * (s & 1) + (x >> 1));
    return signed_bytes(word >> (8 * (x & 1) + 8 * side));
  }
}

// The weights, rounded once.
template <bool kBias>
__device__ __forceinline__ uint32_t scaled(__nv_bfloat162 codes,
                                           __nv_bfloat162 scale,
                                           __nv_bfloat162 bias) {
  if constexpr (kBias) return as_bits(__hfma2(codes, scale, bias));
  return as_bits(__hmul2(codes, scale));
}

// Step `s` as fragment registers.
template <int kBits, bool kBias>
__device__ __forceinline__ void expand(const LaneCodes<kBits>& codes, int s,
                                       const LaneScale& scale,
                                       uint32_t (&a)[4]) {
#pragma unroll
  for (int x = 0; x < 4; ++x) {
    a[x] = scaled<kBias>(codes_of<kBits>(codes, s, x), scale.scale[x & 1],
                         scale.bias[x & 1]);
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_UNPACK_CUH_
