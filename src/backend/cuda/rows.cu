// Operations on whole rows: embedding, RMSNorm with residual, RoPE angles,
// gather. Bound by bytes; few rows by latency. One thread block a row, but for
// the embedding.
#include <cuda_bf16.h>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"

namespace carat::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The sum over the block, by one fixed tree: lanes, then warps, in halves.
// `shared` is for one sum.
__device__ float block_sum(float value, float* shared) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float sums[kWarps];
#pragma unroll
  for (int i = 0; i < kWarps; i += 4) {
    *reinterpret_cast<float4*>(sums + i) =
        *reinterpret_cast<const float4*>(shared + i);
  }
#pragma unroll
  for (int step = kWarps / 2; step > 0; step /= 2) {
#pragma unroll
    for (int i = 0; i < step; ++i) sums[i] = __fadd_rn(sums[i], sums[i + step]);
  }
  return sums[0];
}

// Four columns; those past the end are zeros.
__device__ float4 load4(const float* p, int col, int cols) {
  if (col + 4 <= cols) return *reinterpret_cast<const float4*>(p + col);
  return {col < cols ? p[col] : 0.0f, col + 1 < cols ? p[col + 1] : 0.0f,
          col + 2 < cols ? p[col + 2] : 0.0f, 0.0f};
}
__device__ void store4(float* p, int col, int cols, const float4& v) {
  if (col + 4 <= cols) {
    *reinterpret_cast<float4*>(p + col) = v;
    return;
  }
  if (col < cols) p[col] = v.x;
  if (col + 1 < cols) p[col + 1] = v.y;
  if (col + 2 < cols) p[col + 2] = v.z;
}
__device__ float add_squares(const float4& v, float sum) {
  sum = __fmaf_rn(v.x, v.x, sum);
  sum = __fmaf_rn(v.y, v.y, sum);
  sum = __fmaf_rn(v.z, v.z, sum);
  return __fmaf_rn(v.w, v.w, sum);
}
__device__ float4 scaled(const float4& v, float factor, const float4& weight) {
  return {__fmul_rn(__fmul_rn(v.x, factor), weight.x),
          __fmul_rn(__fmul_rn(v.y, factor), weight.y),
          __fmul_rn(__fmul_rn(v.z, factor), weight.z),
          __fmul_rn(__fmul_rn(v.w, factor), weight.w)};
}

// The same of four that are there: what is past the end becomes zero.
__device__ float4 kept(const float4& v, int col, int cols) {
  return {col < cols ? v.x : 0.0f, col + 1 < cols ? v.y : 0.0f,
          col + 2 < cols ? v.z : 0.0f, col + 3 < cols ? v.w : 0.0f};
}

__device__ __forceinline__ void add_to(float4& sum, const float4& next) {
  sum.x = __fadd_rn(sum.x, next.x);
  sum.y = __fadd_rn(sum.y, next.y);
  sum.z = __fadd_rn(sum.z, next.z);
  sum.w = __fadd_rn(sum.w, next.w);
}

// The sums of a row that lie in `slots` places, at kCount columns, each of
// four, `step` columns apart; a few are asked for at once. Columns past the
// stride are zeros.
template <int kCount>
__device__ __forceinline__ void join_row(const JoinCall& call, int64_t row,
                                         int col, int step,
                                         float4 (&sum)[kCount]) {
  constexpr int kAhead = kCount > 3 ? 2 : kCount > 1 ? 4 : 8;
  const int64_t stride = call.partials.stride;
  const int64_t slot = int64_t{call.rows} * stride;
  const float* from = call.partials.data + row * stride + col;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    sum[j] = {0, 0, 0, 0};
    if (col + j * step < stride) {
      sum[j] = *reinterpret_cast<const float4*>(from + j * step);
    }
  }
  for (int first = 1; first < call.slots; first += kAhead) {
    float4 next[kAhead][kCount];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (first + i < call.slots && col + j * step < stride) {
          next[i][j] = *reinterpret_cast<const float4*>(
              from + (first + i) * slot + j * step);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (first + i < call.slots && col + j * step < stride) {
          add_to(sum[j], next[i][j]);
        }
      }
    }
  }
}

__global__ __launch_bounds__(kThreads) void join_kernel(
    const __grid_constant__ JoinCall call) {
  let_next_start();
  wait_for_previous();
  const int quads = static_cast<int>(call.partials.stride / 4);
  const int index = blockIdx.x * kThreads + threadIdx.x;
  const int row = index / quads, col = index % quads * 4;
  if (row >= call.rows) return;
  float4 sum[1];
  join_row<1>(call, row, col, 0, sum);
  store4(call.out.data + row * call.out.stride, col, call.cols, sum[0]);
}

// A thread owns the columns 4 (256 j + thread) to + 3, in registers; its sum of
// squares takes them in ascending order.
template <int kVectors, bool kJoins>
__global__ __launch_bounds__(kThreads) void norm_kernel(
    const __grid_constant__ NormCall call) {
  __shared__ __align__(16) float shared[2][kWarps];
  let_next_start();
  const int64_t row = blockIdx.x;
  const int cols = call.cols;
  const float inverse_cols = __frcp_rn(static_cast<float>(cols));
  const auto col = [](int j) {
    return 4 * (kThreads * j + static_cast<int>(threadIdx.x));
  };
  // Weights do not change: they may be read ahead.
  float4 next[kVectors], post[kVectors];
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    if (call.out.data != nullptr) next[j] = load4(call.next, col(j), cols);
    if (call.post != nullptr) post[j] = load4(call.post, col(j), cols);
  }
  float* x = call.x.data + row * call.x.stride;
  float* y = call.y.data + row * call.y.stride;
  // A thread's columns lie kThreads / 16 tiles of the slab apart.
  static_assert(4 * kThreads % kTileCols == 0);
  auto* place = reinterpret_cast<uint8_t*>(slab_at(call.out, row, col(0)));
  const int64_t step =
      int64_t{4 * kThreads / kTileCols} * call.out.capacity * 128;
  wait_for_previous();
  float4 value[kVectors];
#pragma unroll
  for (int j = 0; j < kVectors; ++j) value[j] = load4(x, col(j), cols);

  if (call.y.data != nullptr) {
    float4 branch[kVectors];
    if constexpr (kJoins) {
      join_row<kVectors>(call.join, row, col(0), 4 * kThreads, branch);
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        branch[j] = kept(branch[j], col(j), cols);
        store4(y, col(j), cols, branch[j]);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kVectors; ++j) branch[j] = load4(y, col(j), cols);
    }
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kVectors; ++j)
      squares = add_squares(branch[j], squares);
    if (call.post != nullptr) {
      const float factor =
          norm_factor(block_sum(squares, shared[0]), inverse_cols, call.eps);
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        branch[j] = scaled(branch[j], factor, post[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kVectors; ++j) {
      value[j].x = __fadd_rn(value[j].x, branch[j].x);
      value[j].y = __fadd_rn(value[j].y, branch[j].y);
      value[j].z = __fadd_rn(value[j].z, branch[j].z);
      value[j].w = __fadd_rn(value[j].w, branch[j].w);
      store4(x, col(j), cols, value[j]);
    }
  }
  if (call.out.data == nullptr) return;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) squares = add_squares(value[j], squares);
  const float factor =
      norm_factor(block_sum(squares, shared[1]), inverse_cols, call.eps);
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    if (col(j) >= cols) continue;
    // Columns past the last are zeros, as the slab keeps them.
    const float4 out = scaled(value[j], factor, next[j]);
    uint2 packed = {as_bits(__floats2bfloat162_rn(out.x, out.y)),
                    as_bits(__floats2bfloat162_rn(out.z, out.w))};
    *reinterpret_cast<uint2*>(place + j * step) = packed;
  }
}

// A weight, unrounded by bf16.
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
  uint32_t code;
  if (tiles.bits == 4) {
    const uint32_t word =
        *reinterpret_cast<const uint32_t*>(data + lane * 16 + s * 4);
    code = word >> (4 * side + 8 * high + 16 * e) & 15u;
  } else {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(
        data + (s / 2) * 512 + lane * 16 + (s % 2) * 8 + high * 4);
    code = word >> (8 * side + 16 * e) & 255u;
  }
  const bool has_bias = tiles.has_bias != 0;
  const int words = kGroupWords * (has_bias ? 2 : 1);
  const auto* numbers = reinterpret_cast<const __nv_bfloat16*>(
      data + 128 * tiles.bits + (s / tiles.steps_per_group) * words * 4);
  const float scale = scalbnf(__bfloat162float(numbers[2 * g + side]),
                              -scale_exponent(tiles.bits, side));
  const float bias =
      has_bias
          ? scalbnf(__bfloat162float(numbers[2 * (kGroupWords + g) + side]),
                    -kWeightExponent)
          : 0.0f;
  const int centre = has_bias ? 0 : centre_of(tiles.bits);
  return __fmaf_rn(static_cast<float>(static_cast<int>(code) - centre), scale,
                   bias);
}

__global__ __launch_bounds__(kThreads) void embed_kernel(
    const __grid_constant__ EmbedCall call) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int64_t token = call.tokens[row];
  const int i = blockIdx.y * kThreads + threadIdx.x;
  if (i >= call.cols) return;
  call.x.data[row * call.x.stride + i] =
      __fmul_rn(weight_at(call.table, token, i), call.scale);
}

__global__ __launch_bounds__(kThreads) void angles_kernel(
    const __grid_constant__ AnglesCall call) {
  let_next_start();
  wait_for_previous();
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
  let_next_start();
  wait_for_previous();
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
  const int blocks = (call.cols + kThreads - 1) / kThreads;
  queue.launch(
      embed_kernel,
      {dim3(static_cast<unsigned>(rows), static_cast<unsigned>(blocks)),
       kThreads, 0},
      call);
}
void launch_angles(LaunchQueue& queue, const AnglesCall& call, int64_t rows) {
  queue.launch(angles_kernel, one_block_a_row(rows), call);
}
void launch_norm(LaunchQueue& queue, const NormCall& call, int64_t rows) {
  const int vectors = (call.cols + 4 * kThreads - 1) / (4 * kThreads);
  const auto launch = [&](auto plain, auto joins) {
    queue.launch(call.join.slots > 0 ? joins : plain, one_block_a_row(rows),
                 call);
  };
  if (vectors <= 1) {
    launch(norm_kernel<1, false>, norm_kernel<1, true>);
  } else if (vectors <= 3) {
    launch(norm_kernel<3, false>, norm_kernel<3, true>);
  } else if (vectors <= 6) {
    launch(norm_kernel<6, false>, norm_kernel<6, true>);
  } else {
    launch(norm_kernel<16, false>, norm_kernel<16, true>);
  }
}
void launch_gather(LaunchQueue& queue, const GatherCall& call, int64_t rows) {
  queue.launch(gather_kernel, one_block_a_row(rows), call);
}

void launch_join(LaunchQueue& queue, const JoinCall& call) {
  const int64_t quads = call.rows * (call.partials.stride / 4);
  const auto blocks = static_cast<unsigned>((quads + kThreads - 1) / kThreads);
  queue.launch(join_kernel, {dim3(blocks), kThreads, 0}, call);
}

}  // namespace carat::cuda
