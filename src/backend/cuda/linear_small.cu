// Linear layers of few rows (decode), and of any number of rows on devices
// without wgmma: y[t, n] = sum_k x[t, k] w[n, k].
//
// A thread block makes 16 outputs (a slice) for up to 8 * kTiles rows. Its
// warps take ranges of 512 k: each loads its range's codes at once, expands
// them in registers and walks them in m16n8k16 steps; the ranges' sums then
// meet in shared memory and are added in ascending order. Bound by the bytes of
// the weights, each read once for every 8 * kTiles rows.
#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"

namespace carat::cuda {
namespace {

constexpr int kMostWarps = 16;
constexpr int kGatedWarps = 8;  // for gate and for up, each

template <int kBits>
struct RangeCodes {
  LaneCodes<kBits> codes[kRangeTiles];
};

__device__ __forceinline__ uint4 load_once(const uint8_t* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

// The sum over one range for this warp's slice.
template <int kBits, int kTiles>
__device__ __forceinline__ void sum_range(const WeightTiles& weight,
                                          const uint8_t* slice, int range,
                                          const ActivationSlab& input,
                                          int first_row, int rows,
                                          float (&sum)[kTiles][4]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int first = range * kRangeTiles;
  const int count = min(kRangeTiles, weight.k_tiles - first);
  const int64_t tile_stride = int64_t{kSlices} * weight.slice_bytes;
  const uint8_t* tile = slice + first * tile_stride;

  RangeCodes<kBits> loaded;
#pragma unroll
  for (int i = 0; i < kRangeTiles; ++i) {
    if (i >= count) break;
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      loaded.codes[i].planes[plane] =
          load_once(tile + i * tile_stride + plane * 512 + lane * 16);
    }
  }
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[j][i] = 0;
  }
  const uint32_t centre = centre_pair(weight);
  const int words = kGroupWords * (weight.has_bias != 0 ? 2 : 1);
#pragma unroll
  for (int i = 0; i < kRangeTiles; ++i) {
    if (i >= count) break;
    const auto* scales = reinterpret_cast<const uint32_t*>(
                             tile + i * tile_stride + 128 * kBits) +
                         g;
    LaneScale scale;
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      if (s % weight.steps_per_group == 0) {
        const uint32_t* at = scales + s / weight.steps_per_group * words;
        scale = spread(__ldg(at),
                       weight.has_bias != 0 ? __ldg(at + kGroupWords) : 0u);
      }
      uint32_t a[4];
      expand<kBits>(loaded.codes[i], s, scale, centre, a);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        const int row = first_row + 8 * j + g;
        uint32_t b0 = 0, b1 = 0;
        if (row < rows) {
          b0 = *reinterpret_cast<const uint32_t*>(
              slab_chunk(input, row, first + i, 2 * s) + 4 * q);
          b1 = *reinterpret_cast<const uint32_t*>(
              slab_chunk(input, row, first + i, 2 * s + 1) + 4 * q);
        }
        mma_bf16(sum[j], a, b0, b1);
      }
    }
  }
}

// Output n of a slice and row t of the tile, all ranges joined.
template <int kTiles>
__device__ __forceinline__ float joined(const float* partials, int ranges,
                                        int n, int t) {
  const float* at = partials + t * kSliceRows + n;
  float total = at[0];
  for (int r = 1; r < ranges; ++r) {
    total = __fadd_rn(total, at[r * 8 * kTiles * kSliceRows]);
  }
  return total;
}

template <int kBits, int kTiles, bool kGated>
__global__ __launch_bounds__(32 * kMostWarps) void linear_small_kernel(
    const __grid_constant__ LinearCall call) {
  extern __shared__ float partials[];  // [gate, up][range][row][output]
  const int tile = blockIdx.x / kSlices, slice_index = blockIdx.x % kSlices;
  const int first_row = blockIdx.y * 8 * kTiles;
  int piece = 0, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  if constexpr (kGated) {
    warps /= 2;
    piece = warp / warps;
    warp %= warps;
  } else {
    while (piece + 1 < call.piece_count &&
           tile >= call.pieces[piece + 1].first_tile) {
      ++piece;
    }
  }
  const LinearPiece& part = call.pieces[piece];
  const WeightTiles& weight = part.weight;
  const int own_tile = kGated ? tile : tile - part.first_tile;
  const int ranges = (weight.k_tiles + kRangeTiles - 1) / kRangeTiles;
  constexpr int kPartial = kSliceRows * 8 * kTiles;
  const uint8_t* slice =
      weight.data +
      (int64_t{own_tile} * weight.k_tiles * kSlices + slice_index) *
          weight.slice_bytes;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  float* own = partials + (kGated ? piece * ranges * kPartial : 0);
  for (int range = warp; range < ranges; range += warps) {
    float sum[kTiles][4];
    if constexpr (kBits == kMixedBits) {
      weight.bits == 4 ? sum_range<4, kTiles>(weight, slice, range, call.input,
                                              first_row, call.rows, sum)
                       : sum_range<8, kTiles>(weight, slice, range, call.input,
                                              first_row, call.rows, sum);
    } else {
      sum_range<kBits, kTiles>(weight, slice, range, call.input, first_row,
                               call.rows, sum);
    }
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int t = 8 * j + 2 * q + (i & 1), n = g + 8 * (i >> 1);
        own[range * kPartial + t * kSliceRows + n] = sum[j][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kPartial; i += blockDim.x) {
    const int n = i % kSliceRows, t = i / kSliceRows;
    const int64_t row = first_row + t;
    const int output = own_tile * kTileRows + slice_index * kSliceRows + n;
    if (row >= call.rows || output >= weight.rows) continue;
    const float value = joined<kTiles>(partials, ranges, n, t);
    if constexpr (kGated) {
      const float up =
          joined<kTiles>(partials + ranges * kPartial, ranges, n, t);
      *slab_at(call.gated_out, row, output) =
          __float2bfloat16_rn(gated(value, up, call.is_silu != 0));
    } else {
      part.out.data[row * part.out.stride + output] = value;
    }
  }
}

template <int kBits, int kTiles, bool kGated>
void launch(LaunchQueue& queue, const LinearCall& call) {
  const int ranges =
      (call.pieces[0].weight.k_tiles + kRangeTiles - 1) / kRangeTiles;
  const int most = kGated ? kGatedWarps : kMostWarps;
  // As many warps as leave none idle in the last round.
  const int rounds = (ranges + most - 1) / most;
  const int warps = (ranges + rounds - 1) / rounds * (kGated ? 2 : 1);
  const int shared = (kGated ? 2 : 1) * ranges * kSliceRows * 8 * kTiles * 4;
  queue.launch(
      linear_small_kernel<kBits, kTiles, kGated>,
      {dim3(static_cast<unsigned>(call.tile_count * kSlices),
            static_cast<unsigned>((call.rows + 8 * kTiles - 1) / (8 * kTiles))),
       32 * warps, shared},
      call);
}

template <int kBits, bool kGated>
void launch_for_rows(LaunchQueue& queue, const LinearCall& call) {
  // More rows a pass while the partial sums fit in shared memory.
  const int k_tiles = call.pieces[0].weight.k_tiles;
  constexpr int kMostTiles = 160;  // K of 10240: 80 KB for four tiles, gated
  if (call.rows <= 8 || k_tiles > 4 * kMostTiles) {
    launch<kBits, 1, kGated>(queue, call);
  } else if (call.rows <= 16 || k_tiles > kMostTiles) {
    launch<kBits, 2, kGated>(queue, call);
  } else {
    launch<kBits, 4, kGated>(queue, call);
  }
}

}  // namespace

void launch_linear_small(LaunchQueue& queue, const LinearCall& call, int bits,
                         bool gated) {
  if (bits == kMixedBits) {
    launch_for_rows<kMixedBits, true>(queue, call);
  } else if (bits == 4) {
    gated ? launch_for_rows<4, true>(queue, call)
          : launch_for_rows<4, false>(queue, call);
  } else {
    gated ? launch_for_rows<8, true>(queue, call)
          : launch_for_rows<8, false>(queue, call);
  }
}

}  // namespace carat::cuda
