// Linear layers of few rows (decode), and of any number of rows on devices
// without wgmma: y[t, n] = sum_k x[t, k] w[n, k].
//
// A thread block makes 16 outputs (a slice) for up to 8 * kTiles rows; a warp
// takes a range of k. Each asks for all of its range's weights at once,
// before the kernel before has ended, so that the memory is busy while it waits
// for its activations; there are many small thread blocks a multiprocessor and
// no loop to fill. Where a slice has many ranges a cluster of thread blocks
// shares them. The ranges meet in shared memory and are added in ascending
// order. Bound by the bytes of the weights, each read once for every 8 * kTiles
// rows.
#include <type_traits>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/cluster.cuh"
#include "backend/cuda/few_rows.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_small.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"

namespace carat::cuda {
namespace {

// This warp's part of a slice, as it is packed: [k tile][slice_bytes]. A lane
// copies the codes that it will read itself.
template <int kBits>
__device__ __forceinline__ void load_weights(const WeightTiles& weight,
                                             const uint8_t* slice, int range,
                                             int count, uint32_t to) {
  const int lane = threadIdx.x % 32;
  const uint64_t policy = evict_first_policy();
  const int slice_bytes = weight.slice_bytes;
  const int64_t stride = int64_t{kSlices} * slice_bytes;
  const uint8_t* from = slice + range * range_tiles(weight.k_tiles) * stride;
#pragma unroll 8
  for (int i = 0; i < count; ++i) {
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      const int at = plane * 512 + lane * 16;
      copy_async(to + i * slice_bytes + at, from + i * stride + at, policy);
    }
  }
  // Scales: a power of two of chunks a tile.
  const int chunks = (slice_bytes - 128 * kBits) / 16;
  const int shift = 31 - __clz(chunks);
  for (int c = lane; c < count * chunks; c += 32) {
    const int i = c >> shift;
    const int at = 128 * kBits + (c & (chunks - 1)) * 16;
    copy_async(to + i * slice_bytes + at, from + i * stride + at, policy);
  }
}

// Rows of one range to shared memory, [k tile][row][128]: `groups` groups of
// eight lanes share the work, this is number `group`.
__device__ __forceinline__ void load_activations(const ActivationSlab& input,
                                                 int range, int count,
                                                 int first_row, int rows,
                                                 uint32_t to, int group,
                                                 int groups) {
  const int at = threadIdx.x % 8 * 16;
  const uint8_t* from =
      input.data +
      (int64_t{range} * range_tiles(input.k_tiles) * input.capacity +
       first_row) *
          128 +
      at;
  const int64_t stride = int64_t{input.capacity} * 128;
  int row = group;
  for (int i = 0; i < count;) {
    if (row >= rows) {
      row -= rows;
      ++i;
      continue;
    }
    copy_async(to + (i * rows + row) * 128 + at, from + i * stride + row * 128);
    row += groups;
  }
}

template <int kBits, int kTiles, bool kGated>
__device__ __forceinline__ void multiply_range(const WeightTiles& weight,
                                               const uint8_t* weights,
                                               int count, uint32_t activations,
                                               uint32_t zeros, int rows,
                                               float (&sum)[kTiles][4]) {
  const auto run = [&](auto bias, auto steps) {
    constexpr bool kBias = decltype(bias)::value;
    constexpr int kGroupSteps = decltype(steps)::value;
    const auto multiply =
        kGated ? multiply_short<kBits, kTiles, kBias, kGroupSteps>
               : multiply_steps<kBits, kTiles, kBias, kGroupSteps>;
    multiply(weights, weight.slice_bytes, count, activations, zeros, rows, sum);
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
#pragma unroll 4
  for (int r = 1; r < ranges; ++r) {
    total = __fadd_rn(total, at[r * 8 * kTiles * kSliceRows]);
  }
  return __fmul_rn(total, kSumFactor);
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

// A warp's part: its ranges of the block's.
template <int kBits, int kTiles, bool kGated>
__device__ __forceinline__ void run_warp(const LinearCall& call, int half,
                                         int warp, uint8_t* shared) {
  const SmallLayout& layout = call.small;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int index = blockIdx.x, part = blockIdx.z;
  const int first = part * layout.per_block;
  const int end = min(first + layout.per_block, layout.ranges);
  const int first_row = blockIdx.y * 8 * kTiles;
  const int rows = min(call.rows - first_row, 8 * kTiles);
  const SlicePlace place = find_slice<kGated>(call, index, half);
  const WeightTiles& weight = place.piece->weight;
  const uint8_t* data = place.data();
  constexpr int kPartial = kSliceRows * 8 * kTiles;

  const int k_tiles = call.input.k_tiles;
  const int range_length = range_tiles(k_tiles);
  uint8_t* weights = shared + layout.weights_at +
                     (half * layout.warps + warp) * layout.weight_bytes;
  const uint32_t zeros = shared_address(shared);
  const uint32_t activations =
      zeros + layout.activations_at +
      warp * min(call.rows, 8 * kTiles) * range_length * 128;
  auto* partials = reinterpret_cast<float*>(shared + layout.partials_at);

  const int rounds = (layout.per_block + layout.warps - 1) / layout.warps;
  for (int round = 0; round < rounds; ++round) {
    const int range = first + round * layout.warps + warp;
    const int count =
        range < end ? min(range_length, k_tiles - range * range_length) : 0;
    if (round > 0) __syncthreads();  // the last round's data have been read
    if (count > 0) {
      load_weights<kBits>(weight, data, range, count, shared_address(weights));
    }
    if (round == 0) wait_for_previous();
    if (count > 0) {
      // Both halves need the same: each brings a part.
      load_activations(call.input, range, count, first_row, rows, activations,
                       half * 4 + lane / 8, kGated ? 8 : 4);
    }
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    if (round == 0 && call.parts > 1) cluster_wait();  // all have started
    if (count == 0) continue;
    float sum[kTiles][4] = {};
    multiply_range<kBits, kTiles, kGated>(weight, weights, count, activations,
                                          zeros, rows, sum);
    float* to = partials + (half * layout.ranges + range) * kPartial;
    const uint32_t remote = cluster_address(shared_address(to), 0);
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int t = 8 * j + 2 * q + (i & 1), n = g + 8 * (i >> 1);
        if (t >= rows) continue;
        if (part == 0) {
          to[t * kSliceRows + n] = sum[j][i];
        } else {
          cluster_store(remote + 4 * (t * kSliceRows + n), sum[j][i]);
        }
      }
    }
  }
  if (call.parts > 1) {
    cluster_arrive();
    if (part > 0) return;
    cluster_wait();
  } else {
    __syncthreads();
  }
  store_slice<kTiles, kGated>(call, index, partials, layout.ranges, first_row,
                              rows);
}

// Thread blocks for which a multiprocessor keeps registers.
template <int kTiles, bool kGated>
inline constexpr int kResident = kTiles > 1 ? 2
                                 : kGated   ? 3
                                            : 4;

template <int kBits, int kTiles, bool kGated>
__global__ __launch_bounds__(
    32 * kMostWarps * (kGated ? 2 : 1),
    kResident<kTiles, kGated>) void linear_small_kernel(const __grid_constant__
                                                            LinearCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  let_next_start();
  if (call.parts > 1) cluster_arrive_started();
  if (threadIdx.x == 0) {
    *reinterpret_cast<uint4*>(shared) = make_uint4(0, 0, 0, 0);
  }
  int warp = threadIdx.x / 32, half = 0;
  if constexpr (kGated) {
    if (warp >= call.small.warps) {
      half = 1;
      warp -= call.small.warps;
    }
  }
  if constexpr (kBits == kMixedBits) {
    // Both sides meet at the same barriers.
    call.pieces[half].weight.bits == 4
        ? run_warp<4, kTiles, kGated>(call, half, warp, shared)
        : run_warp<8, kTiles, kGated>(call, half, warp, shared);
  } else {
    run_warp<kBits, kTiles, kGated>(call, half, warp, shared);
  }
}

template <int kBits, int kTiles, bool kGated>
void launch(LaunchQueue& queue, LinearCall& call, const SmallLayout& layout) {
  call.small = layout;
  const auto passes =
      static_cast<unsigned>((call.rows + 8 * kTiles - 1) / (8 * kTiles));
  LaunchShape shape = {dim3(static_cast<unsigned>(call.tile_count * kSlices),
                            passes, static_cast<unsigned>(call.parts)),
                       32 * layout.warps * (kGated ? 2 : 1), layout.bytes};
  shape.cluster = call.parts;
  queue.launch(linear_small_kernel<kBits, kTiles, kGated>, shape, call);
}

template <int kBits, bool kGated>
void launch_for_rows(LaunchQueue& queue, const DeviceTraits& device,
                     LinearCall& call) {
  constexpr int kHalves = kGated ? 2 : 1;
  // 16 rows a pass where that costs no warps.
  const int limit = device.shared_bytes;
  const SmallLayout narrow = small_layout(call, kHalves, 8, limit);
  if (call.rows > 8) {
    const SmallLayout wide = small_layout(call, kHalves, 16, limit);
    if (wide.bytes <= limit && wide.warps == narrow.warps) {
      launch<kBits, 2, kGated>(queue, call, wide);
      return;
    }
  }
  launch<kBits, 1, kGated>(queue, call, narrow);
}

}  // namespace

void launch_linear_small(LaunchQueue& queue, const DeviceTraits& device,
                         LinearCall call, int bits, bool gated) {
  const int ranges = range_count(call.input.k_tiles);
  call.parts = best_small_parts(device, ranges);
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
