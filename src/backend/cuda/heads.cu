// Per-head RMSNorm and RoPE of queries in place, and of keys on their way to
// the cache with the values. One warp a head; bound by bytes.
#include <cuda_fp16.h>

#include "backend/cuda/kernels.h"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kBlockPositions = 64;

// Rounds to nearest; NaN becomes 0, what is too large the largest number: the
// cache holds finite numbers only.
__device__ __half to_cache(float value) {
  constexpr float kLargest = 65504.0f;
  if (value != value) return __float2half_rn(0.0f);
  return __float2half_rn(fminf(fmaxf(value, -kLargest), kLargest));
}

__device__ float head_factor(const float* head, int head_dim, float eps) {
  const int lane = threadIdx.x % 32, half = head_dim / 2;
  float sum = 0;
  for (int i = lane; i < half; i += 32) {
    sum = __fmaf_rn(head[i], head[i], sum);
    sum = __fmaf_rn(head[half + i], head[half + i], sum);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, step));
  }
  const float mean = __fdiv_rn(sum, static_cast<float>(head_dim));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
}

// Calls put(i, value) for both halves of the normed and rotated head.
template <class Put>
__device__ void rotate(const float* head, const float* norm, float eps,
                       const float* angles, int head_dim, const Put& put) {
  const int lane = threadIdx.x % 32, half = head_dim / 2;
  const float factor =
      norm != nullptr ? head_factor(head, head_dim, eps) : 1.0f;
  for (int i = lane; i < half; i += 32) {
    float a = head[i], b = head[half + i];
    if (norm != nullptr) {
      a = __fmul_rn(__fmul_rn(a, factor), norm[i]);
      b = __fmul_rn(__fmul_rn(b, factor), norm[half + i]);
    }
    const float cosine = angles[i], sine = angles[half + i];
    put(i, __fmaf_rn(a, cosine, -__fmul_rn(b, sine)));
    put(half + i, __fmaf_rn(b, cosine, __fmul_rn(a, sine)));
  }
}

__global__ __launch_bounds__(kWarps * 32) void heads_kernel(
    const __grid_constant__ HeadsCall call) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x % 32, head_dim = call.part.head_dim;
  int head = blockIdx.y * kWarps + threadIdx.x / 32;
  const float* angles = call.angles.data + row * call.angles.stride;
  const int q_heads = call.q.data != nullptr ? call.q_heads : 0;
  if (head < q_heads) {
    float* q = call.q.data + row * call.q.stride + head * head_dim;
    rotate(q, call.q_norm, call.eps, angles, head_dim,
           [&](int i, float value) { q[i] = value; });
    return;
  }
  head -= q_heads;
  if (call.k.data == nullptr || head >= 2 * call.part.kv_heads) return;
  const int index = call.row_sequence[row];
  if (index < 0) return;
  const SequenceInfo& sequence = call.sequences[index];
  const int64_t position = sequence.first_position + (row - sequence.first_row);
  const uint8_t* block =
      sequence.blocks[position / kBlockPositions - sequence.first_block];
  // Keys of all heads, then values.
  auto* out =
      reinterpret_cast<__half*>(const_cast<uint8_t*>(block) +
                                call.part.layer_offset) +
      (int64_t{head} * kBlockPositions + position % kBlockPositions) * head_dim;
  const bool is_key = head < call.part.kv_heads;
  if (is_key) {
    rotate(call.k.data + row * call.k.stride + head * head_dim, call.k_norm,
           call.eps, angles, head_dim,
           [&](int i, float value) { out[i] = to_cache(value); });
  } else {
    const float* v = call.v.data + row * call.v.stride +
                     (head - call.part.kv_heads) * head_dim;
    for (int i = lane; i < head_dim; i += 32) out[i] = to_cache(v[i]);
  }
}

}  // namespace

void launch_heads(LaunchQueue& queue, const HeadsCall& call, int64_t rows) {
  const int heads = (call.q.data != nullptr ? call.q_heads : 0) +
                    (call.k.data != nullptr ? 2 * call.part.kv_heads : 0);
  queue.launch(heads_kernel,
               {dim3(static_cast<unsigned>(rows),
                     static_cast<unsigned>((heads + kWarps - 1) / kWarps)),
                kWarps * 32, 0},
               call);
}

}  // namespace carat::cuda
