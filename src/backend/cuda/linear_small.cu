// Linear layers of few rows (decode), and of any number of rows on devices
// without wgmma: y[t, n] = sum_k x[t, k] w[n, k].
//
// A thread block makes 16 outputs (a slice) for up to 8 * kTiles rows. Its
// warps take ranges of 512 k: each asks for its range's codes and scales at
// once, even before the kernel before has ended, then for its range's
// activations, expands the codes in registers and walks them in m16n8k16 steps.
// The ranges' sums meet in shared memory and are added in ascending order.
// Bound by the bytes of the weights, each read once for every 8 * kTiles rows.
#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"

namespace carat::cuda {
namespace {

constexpr int kMostWarps = 10;
constexpr int kRangeRowBytes = kRangeTiles * 128;  // a row's part of a range
constexpr int kZeroBytes = 16;  // what stands for rows that do not exist

__device__ __forceinline__ uint4 load_once(const uint8_t* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ __forceinline__ uint32_t load_word(const uint8_t* p) {
  uint32_t v;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

// A slice's part of one range, in registers. Lane 4 g + q keeps the scales of
// rows g and g + 8 for group q of each tile.
template <int kBits>
struct RangeWeights {
  LaneCodes<kBits> codes[kRangeTiles];
  uint32_t scales[kRangeTiles];
  uint32_t biases[kRangeTiles];

  __device__ __forceinline__ void load(const WeightTiles& weight,
                                       const uint8_t* slice, int range) {
    const int lane = threadIdx.x % 32;
    const int first = range * kRangeTiles;
    const int count = min(kRangeTiles, weight.k_tiles - first);
    const int64_t stride = int64_t{kSlices} * weight.slice_bytes;
    const uint8_t* tile = slice + first * stride;
    const int groups = kStepsPerTile / weight.steps_per_group;
    const int words = kGroupWords * (weight.has_bias != 0 ? 2 : 1);
    const int offset = 128 * kBits + 4 * (lane % 4 % groups * words + lane / 4);
#pragma unroll
    for (int i = 0; i < kRangeTiles; ++i) {
      scales[i] = biases[i] = 0;
      if (i >= count) continue;
#pragma unroll
      for (int plane = 0; plane < kBits / 4; ++plane) {
        codes[i].planes[plane] =
            load_once(tile + i * stride + plane * 512 + lane * 16);
      }
      scales[i] = load_word(tile + i * stride + offset);
      if (weight.has_bias != 0) {
        biases[i] = load_word(tile + i * stride + offset + 4 * kGroupWords);
      }
    }
  }
};

// This warp's rows of one range to its part of shared memory: [tile][row][128].
__device__ __forceinline__ void load_activations(const ActivationSlab& input,
                                                 int range, int count,
                                                 int first_row, int rows,
                                                 uint32_t to) {
  const int chunks = rows * 8;
  const uint8_t* from =
      input.data +
      (int64_t{range} * kRangeTiles * input.capacity + first_row) * 128;
  for (int i = 0; i < count; ++i) {
    for (int c = threadIdx.x % 32; c < chunks; c += 32) {
      copy_async(to + (i * chunks + c) * 16,
                 from + int64_t{i} * input.capacity * 128 + c * 16);
    }
  }
  commit_copies();
  wait_copies<0>();
  __syncwarp();
}

template <int kBits, int kTiles>
__device__ __forceinline__ void multiply_range(
    const WeightTiles& weight, const RangeWeights<kBits>& loaded, int count,
    uint32_t activations, uint32_t zeros, int rows, float (&sum)[kTiles][4]) {
  const int lane = threadIdx.x % 32;
  const uint32_t centre = centre_pair(weight);
  const int shift = weight.steps_per_group == 4   ? 2
                    : weight.steps_per_group == 2 ? 1
                                                  : 0;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[j][i] = 0;
  }
#pragma unroll
  for (int i = 0; i < kRangeTiles; ++i) {
    if (i >= count) break;
    uint32_t b[kTiles][kStepsPerTile][2];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const int row = 8 * j + lane % 8;
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        const int chunk = (4 * pair + lane / 8) ^ (row & 7);
        uint32_t r[4];
        load_matrices(r, row < rows
                             ? activations + (i * rows + row) * 128 + chunk * 16
                             : zeros);
        b[j][2 * pair][0] = r[0];
        b[j][2 * pair][1] = r[1];
        b[j][2 * pair + 1][0] = r[2];
        b[j][2 * pair + 1][1] = r[3];
      }
    }
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      const int from = (lane & 28) | (s >> shift);
      const LaneScale scale =
          spread(__shfl_sync(0xffffffffu, loaded.scales[i], from),
                 __shfl_sync(0xffffffffu, loaded.biases[i], from));
      uint32_t a[4];
      expand<kBits>(loaded.codes[i], s, scale, centre, a);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        mma_bf16(sum[j], a, b[j][s][0], b[j][s][1]);
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

// One warp's ranges of a slice: first, first + step, ...
struct Share {
  const uint8_t* slice;
  int first_range;
  int range_step;
  int ranges;
  int first_row;
  int rows;  // of this tile
  uint32_t activations;
  uint32_t zeros;
  float* partials;
};

template <int kBits, int kTiles>
__device__ __forceinline__ void sum_ranges(const LinearCall& call,
                                           const WeightTiles& weight,
                                           const Share& share) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  bool has_waited = false;
  for (int range = share.first_range; range < share.ranges;
       range += share.range_step) {
    RangeWeights<kBits> loaded;
    loaded.load(weight, share.slice, range);
    if (!has_waited) {
      wait_for_previous();
      has_waited = true;
    }
    const int count = min(kRangeTiles, weight.k_tiles - range * kRangeTiles);
    __syncwarp();  // the range before has been read
    load_activations(call.input, range, count, share.first_row, share.rows,
                     share.activations);
    float sum[kTiles][4];
    multiply_range<kBits, kTiles>(weight, loaded, count, share.activations,
                                  share.zeros, share.rows, sum);
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int t = 8 * j + 2 * q + (i & 1), n = g + 8 * (i >> 1);
        share.partials[(range * 8 * kTiles + t) * kSliceRows + n] = sum[j][i];
      }
    }
  }
  if (!has_waited) wait_for_previous();
}

template <int kBits, int kTiles, bool kGated>
__global__ __launch_bounds__(
    32 * kMostWarps,
    kBits == 4 && kTiles == 1
        ? 2
        : 1) void linear_small_kernel(const __grid_constant__ LinearCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  let_next_start();
  const int tile = blockIdx.x / kSlices, slice_index = blockIdx.x % kSlices;
  int piece = 0, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int first_row = blockIdx.y * 8 * kTiles;
  const int rows = min(call.rows - first_row, 8 * kTiles);

  // Zeros, activations of each warp, partial sums [gate, up][range][row][n].
  if (threadIdx.x == 0) {
    *reinterpret_cast<uint4*>(shared) = make_uint4(0, 0, 0, 0);
  }
  const int most_rows = min(call.rows, 8 * kTiles);
  const uint32_t base = shared_address(shared);
  auto* partials = reinterpret_cast<float*>(shared + kZeroBytes +
                                            warps * most_rows * kRangeRowBytes);
  Share share;
  share.zeros = base;
  share.activations = base + kZeroBytes + warp * most_rows * kRangeRowBytes;
  __syncthreads();

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
  share.slice = weight.data +
                (int64_t{own_tile} * weight.k_tiles * kSlices + slice_index) *
                    weight.slice_bytes;
  share.first_range = warp;
  share.range_step = warps;
  share.ranges = ranges;
  share.first_row = first_row;
  share.rows = rows;
  share.partials = partials + (kGated ? piece * ranges * kPartial : 0);
  if constexpr (kBits == kMixedBits) {
    weight.bits == 4 ? sum_ranges<4, kTiles>(call, weight, share)
                     : sum_ranges<8, kTiles>(call, weight, share);
  } else {
    sum_ranges<kBits, kTiles>(call, weight, share);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kPartial; i += blockDim.x) {
    const int n = i % kSliceRows, t = i / kSliceRows;
    const int output = own_tile * kTileRows + slice_index * kSliceRows + n;
    if (t >= rows || output >= weight.rows) continue;
    const int64_t row = first_row + t;
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
  const int parts = kGated ? 2 : 1;
  const int most = kMostWarps / parts;
  // As few warps as do it in the fewest rounds.
  const int rounds = (ranges + most - 1) / most;
  const int warps = (ranges + rounds - 1) / rounds * parts;
  const int rows = call.rows < 8 * kTiles ? call.rows : 8 * kTiles;
  const int shared = kZeroBytes + warps * rows * kRangeRowBytes +
                     parts * ranges * kSliceRows * 8 * kTiles * 4;
  queue.launch(
      linear_small_kernel<kBits, kTiles, kGated>,
      {dim3(static_cast<unsigned>(call.tile_count * kSlices),
            static_cast<unsigned>((call.rows + 8 * kTiles - 1) / (8 * kTiles))),
       32 * warps, shared},
      call);
}

template <int kBits, bool kGated>
void launch_for_rows(LaunchQueue& queue, const LinearCall& call,
                     int shared_bytes) {
  // 16 rows a pass where their activations fit: 16 KB a warp.
  constexpr int kWideBytes = 200 * 1024;
  const bool fits = shared_bytes >= kWideBytes &&
                    call.pieces[0].weight.k_tiles <= 40 * kRangeTiles;
  if (call.rows <= 8 || !fits) {
    launch<kBits, 1, kGated>(queue, call);
  } else {
    launch<kBits, 2, kGated>(queue, call);
  }
}

}  // namespace

void launch_linear_small(LaunchQueue& queue, const DeviceTraits& device,
                         const LinearCall& call, int bits, bool gated) {
  const int shared = device.shared_bytes;
  if (bits == kMixedBits) {
    launch_for_rows<kMixedBits, true>(queue, call, shared);
  } else if (bits == 4) {
    gated ? launch_for_rows<4, true>(queue, call, shared)
          : launch_for_rows<4, false>(queue, call, shared);
  } else {
    gated ? launch_for_rows<8, true>(queue, call, shared)
          : launch_for_rows<8, false>(queue, call, shared);
  }
}

}  // namespace carat::cuda
