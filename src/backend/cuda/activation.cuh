// exp, and the activations of the gated MLP, in f32; see docs/numerics-cuda.md.
#ifndef CARAT_BACKEND_CUDA_ACTIVATION_CUH_
#define CARAT_BACKEND_CUDA_ACTIVATION_CUH_

namespace carat::cuda {

inline constexpr float kLog2E = 1.44269504f;

// By the special-function unit: a function of x alone, within 2 ulp.
__device__ __forceinline__ float power_of_two(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 2^(x log2 e): the product is rounded, so relative error about |x| 2^-24.
__device__ __forceinline__ float fast_exp(float x) {
  return power_of_two(__fmul_rn(x, kLog2E));
}

// 1 / x by the special-function unit, within 1 ulp.
__device__ __forceinline__ float fast_reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 1 / sqrt(x) by the special-function unit, within 2^-22.9.
__device__ __forceinline__ float fast_reciprocal_root(float x) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// What RMSNorm multiplies by, of a sum of squares over 1 / `inverse` columns.
__device__ __forceinline__ float norm_factor(float sum, float inverse,
                                             float eps) {
  return fast_reciprocal_root(__fmaf_rn(sum, inverse, eps));
}

// x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3): GELU's tanh
// form without the cancellation.
__device__ __forceinline__ float gelu_tanh(float x) {
  const float inner =
      __fmaf_rn(__fmul_rn(x, x), -0x1.2444f2p-4f, -0x1.988454p+0f);
  return __fmul_rn(
      x, fast_reciprocal(__fadd_rn(1.0f, fast_exp(__fmul_rn(x, inner)))));
}

__device__ __forceinline__ float silu(float x) {
  return __fmul_rn(x, fast_reciprocal(__fadd_rn(1.0f, fast_exp(-x))));
}

template <bool kIsSilu>
__device__ __forceinline__ float gated(float gate, float up) {
  return __fmul_rn(kIsSilu ? silu(gate) : gelu_tanh(gate), up);
}

__device__ __forceinline__ float gated(float gate, float up, bool is_silu) {
  return is_silu ? gated<true>(gate, up) : gated<false>(gate, up);
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ACTIVATION_CUH_
