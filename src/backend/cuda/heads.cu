// Per-head RMSNorm and RoPE of queries in place, and of keys on their way to
// the cache with the values. One warp a head, a lane four columns of either
// half; bound by bytes, at few rows by latency.
#include <cuda_fp16.h>

#include "backend/cuda/kernels.h"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kBlockPositions = 64;

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

__device__ __forceinline__ void scale_head(HalfPair& x, const HalfPair& norm,
                                           int head_dim, float eps) {
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
  const float mean = __fdiv_rn(sum, static_cast<float>(head_dim));
  const float factor = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
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

// To the panels of a head in a block (BlockPart).
__device__ __forceinline__ void store_cached(uint8_t* panels, int position,
                                             int col, const float (&x)[4]) {
  uint8_t* to = panels + (col / 64 * kBlockPositions + position) * 128 +
                (((col / 8 ^ position) & 7) << 4) + col % 8 * 2;
  __half2 pair[2] = {__floats2half2_rn(finite(x[0]), finite(x[1])),
                     __floats2half2_rn(finite(x[2]), finite(x[3]))};
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pair);
}

__global__ __launch_bounds__(kWarps * 32) void heads_kernel(
    const __grid_constant__ HeadsCall call) {
  let_next_start();
  const int64_t row = blockIdx.x;
  const int head_dim = call.part.head_dim, half = head_dim / 2;
  const int col = threadIdx.x % 32 * 4;
  const bool has_columns = col < half;
  int head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int q_heads = call.q.data != nullptr ? call.q_heads : 0;
  const bool is_query = head < q_heads;
  if (!is_query) head -= q_heads;
  const int kv_heads = call.part.kv_heads;
  if (!is_query && (call.k.data == nullptr || head >= 2 * kv_heads)) return;
  const bool is_value = !is_query && head >= kv_heads;

  // Tables lie on the device, and norms are weights: before the wait.
  uint8_t* panels = nullptr;
  int position = 0;
  if (!is_query) {
    const int index = call.row_sequence[row];
    if (index < 0) return;
    const SequenceInfo& sequence = call.sequences[index];
    const int64_t at = sequence.first_position + (row - sequence.first_row);
    const uint8_t* block =
        sequence.blocks[at / kBlockPositions - sequence.first_block];
    position = static_cast<int>(at % kBlockPositions);
    // Keys of all heads, then values.
    panels = const_cast<uint8_t*>(block) + call.part.layer_offset +
             int64_t{head} * kBlockPositions * call.part.padded_dim * 2;
  }
  const float* norm_weight = is_query ? call.q_norm : call.k_norm;
  const bool is_normed = !is_value && norm_weight != nullptr;
  HalfPair norm = {}, angles = {}, x = {};
  if (is_normed && has_columns) norm = load_halves(norm_weight, half, col);
  wait_for_previous();
  const Rows& from = is_query ? call.q : is_value ? call.v : call.k;
  float* data = from.data + row * from.stride +
                (is_value ? head - kv_heads : head) * head_dim;
  if (has_columns) {
    x = load_halves(data, half, col);
    if (!is_value) {
      angles =
          load_halves(call.angles.data + row * call.angles.stride, half, col);
    }
  }
  if (is_normed) scale_head(x, norm, head_dim, call.eps);
  if (!has_columns) return;
  if (!is_value) rotate(x, angles);
  if (is_query) {
    store_quad(data + col, x.a);
    store_quad(data + half + col, x.b);
  } else {
    store_cached(panels, position, col, x.a);
    store_cached(panels, position, half + col, x.b);
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
