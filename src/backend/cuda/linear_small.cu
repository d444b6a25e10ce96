// Linear layers of few rows (decode), and of any number of rows on devices
// without wgmma: y[t, n] = sum_k x[t, k] w[n, k].
//
// A thread block makes 16 outputs (a slice) for up to 8 * kTiles rows, then the
// next slice of its share. Its warps take ranges of 512 k: each asks for all
// codes and scales of its next range before it expands those of the present one
// and walks them in m16n8k16 steps; the first even before the kernel before has
// ended. A slice's ranges meet in shared memory and are added in ascending
// order. Bound by the bytes of the weights, each read once for every
// 8 * kTiles rows.
#include <type_traits>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"

namespace carat::cuda {
namespace {

constexpr int kMostWarps = 5;                      // gated: for each of the two
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

// kGroupSteps: steps that share a scale.
template <int kBits, int kTiles, bool kBias, int kGroupSteps>
__device__ __forceinline__ void multiply_steps(
    const RangeWeights<kBits>& loaded, uint32_t centre, int count,
    uint32_t activations, uint32_t zeros, int rows, float (&sum)[kTiles][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[j][i] = 0;
  }
  // Where this lane finds row `lane % 8` of each eight; zeros where none is.
  uint32_t address[kTiles][2];
  int stride[kTiles];
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    const int row = 8 * j + lane % 8;
    stride[j] = row < rows ? rows * 128 : 0;
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int chunk = (4 * pair + lane / 8) ^ (row & 7);
      address[j][pair] =
          row < rows ? activations + row * 128 + chunk * 16 : zeros;
    }
  }
#pragma unroll
  for (int i = 0; i < kRangeTiles; ++i) {
    if (i >= count) break;
    uint32_t b[kTiles][2][4];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        load_matrices(b[j][pair], address[j][pair]);
        address[j][pair] += stride[j];
      }
    }
    LaneScale scale;
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      if (s % kGroupSteps == 0) {
        const int from = (lane & 28) | (s / kGroupSteps);
        scale = spread(
            __shfl_sync(0xffffffffu, loaded.scales[i], from),
            kBias ? __shfl_sync(0xffffffffu, loaded.biases[i], from) : 0u);
      }
      uint32_t a[4];
      expand<kBits>(loaded.codes[i], s, scale, centre, a);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        mma_bf16(sum[j], a, b[j][s / 2][2 * (s % 2)],
                 b[j][s / 2][2 * (s % 2) + 1]);
      }
    }
  }
}

template <int kBits, int kTiles>
__device__ __forceinline__ void multiply_range(
    const WeightTiles& weight, const RangeWeights<kBits>& loaded, int count,
    uint32_t activations, uint32_t zeros, int rows, float (&sum)[kTiles][4]) {
  const uint32_t centre = centre_pair(weight);
  const auto run = [&](auto bias, auto steps) {
    multiply_steps<kBits, kTiles, decltype(bias)::value,
                   decltype(steps)::value>(loaded, centre, count, activations,
                                           zeros, rows, sum);
  };
  const std::integral_constant<int, 1> one;
  const std::integral_constant<int, 2> two;
  const std::integral_constant<int, 4> four;
  const int steps = weight.steps_per_group;
  if (weight.has_bias != 0) {
    const std::true_type yes;
    steps == 4 ? run(yes, four) : steps == 2 ? run(yes, two) : run(yes, one);
  } else {
    const std::false_type no;
    steps == 4 ? run(no, four) : steps == 2 ? run(no, two) : run(no, one);
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

// Where a slice lies.
struct SlicePlace {
  const LinearPiece* piece;
  int tile;   // within the piece
  int slice;  // within the tile

  __device__ const uint8_t* data() const {
    const WeightTiles& weight = piece->weight;
    return weight.data + (int64_t{tile} * weight.k_tiles * kSlices + slice) *
                             weight.slice_bytes;
  }
};

template <bool kGated>
__device__ __forceinline__ SlicePlace find_slice(const LinearCall& call,
                                                 int index, int half) {
  const int tile = index / kSlices, slice = index % kSlices;
  if constexpr (kGated) return {&call.pieces[half], tile, slice};
  int piece = 0;
  while (piece + 1 < call.piece_count &&
         tile >= call.pieces[piece + 1].first_tile) {
    ++piece;
  }
  return {&call.pieces[piece], tile - call.pieces[piece].first_tile, slice};
}

// Stores a slice's outputs; all threads of the block.
template <int kTiles, bool kGated>
__device__ __forceinline__ void store_slice(const LinearCall& call, int index,
                                            const float* partials, int ranges,
                                            int first_row, int rows) {
  constexpr int kPartial = kSliceRows * 8 * kTiles;
  const SlicePlace place = find_slice<kGated>(call, index, 0);
  for (int i = threadIdx.x; i < kSliceRows * rows; i += blockDim.x) {
    const int n = i % kSliceRows, t = i / kSliceRows;
    const int output = place.tile * kTileRows + place.slice * kSliceRows + n;
    if (output >= place.piece->weight.rows) continue;
    const int64_t row = first_row + t;
    const float value = joined<kTiles>(partials, ranges, n, t);
    if constexpr (kGated) {
      const float up =
          joined<kTiles>(partials + ranges * kPartial, ranges, n, t);
      *slab_at(call.gated_out, row, output) =
          __float2bfloat16_rn(gated(value, up, call.is_silu != 0));
    } else {
      const Rows& out = place.piece->out;
      out.data[row * out.stride + output] = value;
    }
  }
}

// A warp's part: its ranges `warp`, `warp + warps`, ... of every slice.
template <int kBits, int kTiles, bool kGated>
__device__ __forceinline__ void run_warp(const LinearCall& call, int half,
                                         int warp, int warps,
                                         uint32_t activations, uint32_t zeros,
                                         float* partials) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int k_tiles = call.input.k_tiles;
  const int ranges = (k_tiles + kRangeTiles - 1) / kRangeTiles;
  const int rounds = (ranges + warps - 1) / warps;
  const int slices = call.tile_count * kSlices;
  const int first_row = blockIdx.y * 8 * kTiles;
  const int rows = min(call.rows - first_row, 8 * kTiles);
  constexpr int kPartial = kSliceRows * 8 * kTiles;
  const int buffer = ranges * kPartial * (kGated ? 2 : 1);

  const auto load = [&](RangeWeights<kBits>& to, int index, int range) {
    if (index >= slices || range >= ranges) return;
    const SlicePlace place = find_slice<kGated>(call, index, half);
    to.load(place.piece->weight, place.data(), range);
  };
  RangeWeights<kBits> next;
  load(next, blockIdx.x, warp);
  wait_for_previous();
  int parity = 0, loaded_range = -1;
  for (int index = blockIdx.x; index < slices; index += gridDim.x) {
    const WeightTiles& weight =
        find_slice<kGated>(call, index, half).piece->weight;
    for (int round = 0; round < rounds; ++round) {
      const int range = warp + round * warps;
      const RangeWeights<kBits> present = next;
      round + 1 < rounds ? load(next, index, range + warps)
                         : load(next, index + gridDim.x, warp);
      if (range >= ranges) continue;
      const int count = min(kRangeTiles, k_tiles - range * kRangeTiles);
      if (range != loaded_range) {
        __syncwarp();  // the range before has been read
        load_activations(call.input, range, count, first_row, rows,
                         activations);
        loaded_range = range;
      }
      float sum[kTiles][4];
      multiply_range<kBits, kTiles>(weight, present, count, activations, zeros,
                                    rows, sum);
      float* to =
          partials + parity * buffer + (half * ranges + range) * kPartial;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int t = 8 * j + 2 * q + (i & 1), n = g + 8 * (i >> 1);
          to[t * kSliceRows + n] = sum[j][i];
        }
      }
    }
    // Two buffers: the next slice's sums do not wait for this one's stores.
    __syncthreads();
    store_slice<kTiles, kGated>(call, index, partials + parity * buffer, ranges,
                                first_row, rows);
    parity ^= 1;
  }
}

template <int kBits, int kTiles, bool kGated>
__global__ __launch_bounds__(
    32 * kMostWarps * (kGated ? 2 : 1),
    kGated
        ? 1
        : 2) void linear_small_kernel(const __grid_constant__ LinearCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  let_next_start();
  // Zeros, activations of each warp, twice partial sums [half][range][row][n].
  if (threadIdx.x == 0) {
    *reinterpret_cast<uint4*>(shared) = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  int warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int most_rows = min(call.rows, 8 * kTiles);
  const uint32_t zeros = shared_address(shared);
  const uint32_t activations =
      zeros + kZeroBytes + warp * most_rows * kRangeRowBytes;
  auto* partials = reinterpret_cast<float*>(shared + kZeroBytes +
                                            warps * most_rows * kRangeRowBytes);
  int half = 0;
  if constexpr (kGated) {
    warps /= 2;
    half = warp / warps;
    warp %= warps;
  }
  if constexpr (kBits == kMixedBits) {
    // Both sides meet at the same barriers, one for each slice.
    call.pieces[half].weight.bits == 4
        ? run_warp<4, kTiles, kGated>(call, half, warp, warps, activations,
                                      zeros, partials)
        : run_warp<8, kTiles, kGated>(call, half, warp, warps, activations,
                                      zeros, partials);
  } else {
    run_warp<kBits, kTiles, kGated>(call, half, warp, warps, activations, zeros,
                                    partials);
  }
}

template <int kBits, int kTiles, bool kGated>
void launch(LaunchQueue& queue, const DeviceTraits& device,
            const LinearCall& call) {
  const int ranges = (call.input.k_tiles + kRangeTiles - 1) / kRangeTiles;
  const int parts = kGated ? 2 : 1;
  // As few warps as do it in the fewest rounds.
  const int rounds = (ranges + kMostWarps - 1) / kMostWarps;
  const int warps = (ranges + rounds - 1) / rounds * parts;
  const int rows = call.rows < 8 * kTiles ? call.rows : 8 * kTiles;
  const int shared = kZeroBytes + warps * rows * kRangeRowBytes +
                     2 * parts * ranges * kSliceRows * 8 * kTiles * 4;
  const int slices = call.tile_count * kSlices;
  const int resident = device.processors * (kGated ? 1 : 2);
  queue.launch(
      linear_small_kernel<kBits, kTiles, kGated>,
      {dim3(static_cast<unsigned>(slices < resident ? slices : resident),
            static_cast<unsigned>((call.rows + 8 * kTiles - 1) / (8 * kTiles))),
       32 * warps, shared},
      call);
}

template <int kBits, bool kGated>
void launch_for_rows(LaunchQueue& queue, const DeviceTraits& device,
                     const LinearCall& call) {
  // 16 rows a pass where their activations fit: 16 KB a warp.
  constexpr int kWideBytes = 200 * 1024;
  const bool fits = device.shared_bytes >= kWideBytes &&
                    call.input.k_tiles <= 40 * kRangeTiles;
  if (call.rows <= 8 || !fits) {
    launch<kBits, 1, kGated>(queue, device, call);
  } else {
    launch<kBits, 2, kGated>(queue, device, call);
  }
}

}  // namespace

void launch_linear_small(LaunchQueue& queue, const DeviceTraits& device,
                         const LinearCall& call, int bits, bool gated) {
  if (bits == kMixedBits) {
    launch_for_rows<kMixedBits, true>(queue, device, call);
  } else if (bits == 4) {
    gated ? launch_for_rows<4, true>(queue, device, call)
          : launch_for_rows<4, false>(queue, device, call);
  } else {
    gated ? launch_for_rows<8, true>(queue, device, call)
          : launch_for_rows<8, false>(queue, device, call);
  }
}

}  // namespace carat::cuda
