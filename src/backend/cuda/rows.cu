// Operations on whole rows: embedding, RMSNorm with residual, RoPE angles,
// gather. One thread block a row; bound by bytes.
#include <cuda_bf16.h>

#include "backend/cuda/kernels.h"
#include "backend/cuda/slab.cuh"

namespace carat::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The sum over the block, by one fixed tree: lanes, then warps, in halves.
__device__ float block_sum(float value, float* shared) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[threadIdx.x % kWarps];
#pragma unroll
  for (int step = kWarps / 2; step > 0; step /= 2) {
    value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  return value;
}

__device__ float factor_of(float sum, int cols, float eps) {
  const float mean = __fdiv_rn(sum, static_cast<float>(cols));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
}

__global__ __launch_bounds__(kThreads) void norm_kernel(
    const __grid_constant__ NormCall call) {
  __shared__ float shared[kWarps];
  const int64_t row = blockIdx.x;
  float* x = call.x.data + row * call.x.stride;
  const int cols = call.cols;

  float sum = 0;
  if (call.y.data != nullptr) {
    const float* y = call.y.data + row * call.y.stride;
    float factor = 1;
    if (call.post != nullptr) {
      float squares = 0;
      for (int i = threadIdx.x; i < cols; i += kThreads) {
        squares = __fmaf_rn(y[i], y[i], squares);
      }
      factor = factor_of(block_sum(squares, shared), cols, call.eps);
    }
    for (int i = threadIdx.x; i < cols; i += kThreads) {
      const float branch =
          call.post != nullptr
              ? __fmul_rn(__fmul_rn(y[i], factor), call.post[i])
              : y[i];
      const float value = __fadd_rn(x[i], branch);
      x[i] = value;
      sum = __fmaf_rn(value, value, sum);
    }
  } else {
    for (int i = threadIdx.x; i < cols; i += kThreads) {
      sum = __fmaf_rn(x[i], x[i], sum);
    }
  }
  if (call.out.data == nullptr) return;
  const float factor = factor_of(block_sum(sum, shared), cols, call.eps);
  for (int i = threadIdx.x; i < cols; i += kThreads) {
    const float value = __fmul_rn(__fmul_rn(x[i], factor), call.next[i]);
    *slab_at(call.out, row, i) = __float2bfloat16_rn(value);
  }
}

// scale * weight, the product of scale and code unrounded by bf16.
__device__ float weight_at(const WeightTiles& tiles, int64_t n, int k) {
  const int slice = static_cast<int>(n % kTileRows) / kSliceRows;
  const int g = static_cast<int>(n % 8), side = static_cast<int>(n % 16) / 8;
  const uint8_t* data =
      tiles.data +
      ((n / kTileRows * tiles.k_tiles + k / kTileCols) * kSlices + slice) *
          int64_t{tiles.slice_bytes};
  const int s = k % kTileCols / kStepCols, at = k % kStepCols;
  const int q = at % 8 / 2, e = at % 2, high = at / 8;
  const int lane = 4 * g + q;
  float code;
  if (tiles.bits == 4) {
    const uint32_t word =
        *reinterpret_cast<const uint32_t*>(data + lane * 16 + s * 4);
    const int x = side + 2 * high;
    code = static_cast<float>(static_cast<int>(word >> (4 * x + 16 * e) & 15u) -
                              tiles.centre);
  } else {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(
        data + (s / 2) * 512 + lane * 16 + (s % 2) * 8 + high * 4);
    code = static_cast<float>(
        static_cast<int8_t>(word >> (8 * side + 16 * e) & 255u));
  }
  const int words = kGroupWords * (tiles.has_bias != 0 ? 2 : 1);
  const auto* scales = reinterpret_cast<const __nv_bfloat16*>(
      data + 128 * tiles.bits + (s / tiles.steps_per_group) * words * 4);
  const float scale = __bfloat162float(scales[2 * g + side]);
  const float bias =
      tiles.has_bias != 0
          ? __bfloat162float(scales[2 * (kGroupWords + g) + side])
          : 0.0f;
  return __fmaf_rn(code, scale, bias);
}

__global__ __launch_bounds__(kThreads) void embed_kernel(
    const __grid_constant__ EmbedCall call) {
  const int64_t row = blockIdx.x;
  const int64_t token = call.tokens[row];
  for (int i = threadIdx.x; i < call.cols; i += kThreads) {
    call.x.data[row * call.x.stride + i] =
        __fmul_rn(weight_at(call.table, token, i), call.scale);
  }
}

__global__ __launch_bounds__(kThreads) void angles_kernel(
    const __grid_constant__ AnglesCall call) {
  const int64_t row = blockIdx.x;
  const auto position = static_cast<double>(call.positions[row]);
  float* out = call.angles.data + row * call.angles.stride;
  for (int i = threadIdx.x; i < call.half; i += kThreads) {
    double sine, cosine;
    sincos(__dmul_rn(position, call.inverse_frequencies[i]), &sine, &cosine);
    out[i] = __double2float_rn(cosine);
    out[call.half + i] = __double2float_rn(sine);
  }
}

__global__ __launch_bounds__(kThreads) void gather_kernel(
    const __grid_constant__ GatherCall call) {
  const int64_t row = blockIdx.x;
  const float* in = call.in.data + call.rows[row] * call.in.stride;
  float* out = call.out.data + row * call.out.stride;
  for (int i = threadIdx.x; i < call.cols; i += kThreads) out[i] = in[i];
}

LaunchShape one_block_a_row(int64_t rows) {
  return {dim3(static_cast<unsigned>(rows)), kThreads, 0};
}

}  // namespace

void launch_embed(LaunchQueue& queue, const EmbedCall& call, int64_t rows) {
  queue.launch(embed_kernel, one_block_a_row(rows), call);
}
void launch_angles(LaunchQueue& queue, const AnglesCall& call, int64_t rows) {
  queue.launch(angles_kernel, one_block_a_row(rows), call);
}
void launch_norm(LaunchQueue& queue, const NormCall& call, int64_t rows) {
  queue.launch(norm_kernel, one_block_a_row(rows), call);
}
void launch_gather(LaunchQueue& queue, const GatherCall& call, int64_t rows) {
  queue.launch(gather_kernel, one_block_a_row(rows), call);
}

}  // namespace carat::cuda
