// Per-head RMSNorm and RoPE of queries in place, and of keys on their way to
// the cache with the values. One warp a head, a lane four columns of either
// half; bound by bytes, at few rows by latency.
#include "backend/cuda/heads.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

constexpr int kWarps = 8;

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
    const uint8_t* block = sequence.blocks[at / kKeys - sequence.first_block];
    position = static_cast<int>(at % kKeys);
    // Keys of all heads, then values.
    panels = const_cast<uint8_t*>(block) + call.part.layer_offset +
             int64_t{head} * kKeys * call.part.padded_dim * 2;
  }
  const float* norm_weight = is_query ? call.q_norm : call.k_norm;
  const bool is_normed = !is_value && norm_weight != nullptr;
  HalfPair norm = {}, angles = {}, x = {};
  if (is_normed && has_columns) norm = load_halves(norm_weight, half, col);
  const float inverse_dim = __frcp_rn(static_cast<float>(head_dim));
  const Rows& from = is_query ? call.q : is_value ? call.v : call.k;
  float* data = from.data + row * from.stride +
                (is_value ? head - kv_heads : head) * head_dim;
  wait_for_previous();
  if (has_columns) {
    x = load_halves(data, half, col);
    if (!is_value) {
      angles =
          load_halves(call.angles.data + row * call.angles.stride, half, col);
    }
  }
  if (is_normed) scale_head(x, norm, inverse_dim, call.eps);
  if (!has_columns) return;
  if (!is_value) rotate(x, angles);
  if (is_query) {
    store_quad(data + col, x.a);
    store_quad(data + half + col, x.b);
  } else {
    *reinterpret_cast<uint2*>(panels + place_in_panels(position, col)) =
        to_cached(x.a);
    *reinterpret_cast<uint2*>(panels + place_in_panels(position, half + col)) =
        to_cached(x.b);
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
