// Linear layers of few rows (decode), and of any number of rows on devices
// without wgmma: y[t, n] = sum_k x[t, k] w[n, k].
//
// A thread block makes 16 outputs (a slice) for up to kRows rows; a warp takes
// a range of k, a cluster of thread blocks where those are too many. The ranges
// meet in shared memory and are added in ascending order.
//
// Few rows are bound by latency: a 4B's layer takes 34 us at one row, twice
// what its weights' bytes take. So all that needs no activations is done while
// the kernel before runs: addresses, and the weights of the whole range on
// their way. Thread blocks that are there long before their turn ask for them
// slowly: a burst makes the kernels at work late. While activations arrive the
// first tile is expanded. Where there are many rounds of slices (a
// vocabulary's, gate and up of large models or of several rows) thread blocks
// take them in turn instead (range_weights.cuh), and are bound by the bytes of
// the weights: read once for every kRows rows.
#include <type_traits>

#include "backend/cuda/cluster.cuh"
#include "backend/cuda/few_rows.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_small.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/range_rows.cuh"
#include "backend/cuda/range_weights.cuh"
#include "backend/cuda/slices.cuh"

namespace carat::cuda {
namespace {

template <int kBits, int kTiles, bool kGated, bool kTurns, class AwaitRows>
__device__ __forceinline__ void multiply_range(
    const WeightTiles& weight, TileTurns<kBits, kTurns>& turns,
    const uint8_t* weights, int count, uint32_t activations, uint32_t zeros,
    int rows, const AwaitRows& await_rows, float (&sum)[kTiles][4]) {
  const auto run = [&](auto bias, auto steps) {
    constexpr bool kBias = decltype(bias)::value;
    constexpr int kGroupSteps = decltype(steps)::value;
    const auto multiply = kGated
                              ? multiply_short<kBits, kTiles, kBias,
                                               kGroupSteps, kTurns, AwaitRows>
                              : multiply_steps<kBits, kTiles, kBias,
                                               kGroupSteps, kTurns, AwaitRows>;
    multiply(turns, weights, weight.slice_bytes, count, activations, zeros,
             rows, await_rows, sum);
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

// The threads of all blocks that share slices meet.
__device__ __forceinline__ void all_meet(const LinearCall& call) {
  if (call.parts > 1) {
    cluster_arrive();
    cluster_wait();
  } else {
    __syncthreads();
  }
}

// Calls run(bits), which may be known only now.
template <int kBits, class Run>
__device__ __forceinline__ void for_bits(int bits, const Run& run) {
  if constexpr (kBits != kMixedBits) {
    run(std::integral_constant<int, kBits>());
  } else if (bits == 4) {
    run(std::integral_constant<int, 4>());
  } else {
    run(std::integral_constant<int, 8>());
  }
}

// A warp's part: its range of each slice that the block takes in turn
// (kTurns), or its ranges of one. All warps of the block meet in the same code,
// also those without a range: of kMixedBits before any multiplies.
template <int kBits, int kRows, bool kGated, bool kTurns>
__device__ __forceinline__ void run_warp(const LinearCall& call, int half,
                                         int warp, uint8_t* shared) {
  const SmallLayout& layout = call.small;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int index = blockIdx.x, part = blockIdx.z;
  const int first = part * layout.per_block;
  const int end = min(first + layout.per_block, layout.ranges);
  constexpr int kTiles = (kRows + 7) / 8;
  const int first_row = blockIdx.y * kRows;
  const int rows = kRows == 1 ? 1 : min(call.rows - first_row, kRows);
  const SlicePlace place = find_slice<kGated>(call, index, half);
  const WeightTiles& weight = place.piece->weight;

  const int k_tiles = call.input.k_tiles;
  const int range_length = range_tiles(k_tiles);
  uint8_t* weights = shared + layout.weights_at +
                     (half * layout.warps + warp) * layout.weight_bytes;
  const uint32_t zeros = shared_address(shared);
  const uint32_t activations =
      zeros + layout.activations_at +
      warp * min(call.rows, kRows) * range_length * 128;
  auto* partials = reinterpret_cast<float*>(shared + layout.partials_at);
  constexpr int kPartial = kRows * kSliceRows;
  // A range's sums to their place.
  const auto multiply = [&](const uint8_t* next, int range, int count, int slot,
                            const auto& await_rows) {
    float sum[kTiles][4] = {};
    float* to =
        partials +
        ((slot * (kGated ? 2 : 1) + half) * layout.ranges + range) * kPartial;
    const uint32_t remote = cluster_address(shared_address(to), 0);
    if constexpr (kBits == kMixedBits) await_rows();
    const auto await = [&] {
      if constexpr (kBits != kMixedBits) await_rows();
    };
    for_bits<kBits>(weight.bits, [&](auto bits) {
      constexpr int kOwn = decltype(bits)::value;
      TileTurns<kOwn, kTurns> turns = {call, next, next != nullptr};
      multiply_range<kOwn, kTiles, kGated>(
          weight, turns, weights, count, activations, zeros, rows, await, sum);
    });
    if (count == 0) return;
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
  };
  const auto store = [&](int from, int count) {
    store_slices<kRows, kGated>(call, from, count, partials, first_row, rows);
  };

  // Of a row alone this thread's output is found before the kernel before has
  // ended.
  Output<kGated>* output = nullptr;
  if (kRows == 1 && !kTurns && threadIdx.x < kSliceRows) {
    output = find_output<kGated>(call, index, threadIdx.x, 0);
  }
  // Slices whose sums are kept: every at_once-th from `oldest` on.
  int oldest = index, kept = 1;
  const int rounds =
      kTurns ? 1 : (layout.per_block + layout.warps - 1) / layout.warps;
  for (int round = 0; round < rounds; ++round) {
    const int range = first + round * layout.warps + warp;
    const int count =
        range < end ? min(range_length, k_tiles - range * range_length) : 0;
    if (round > 0) __syncthreads();  // the last round's data have been read
    const bool is_early = round == 0 && index < call.early_slices;
    const int64_t to_range =
        int64_t{range} * range_length * kSlices * weight.slice_bytes;
    if (count > 0) {
      for_bits<kBits>(weight.bits, [&](auto bits) {
        load_weights<decltype(bits)::value, !kTurns>(
            place.data() + to_range, weight.slice_bytes, count,
            shared_address(weights), is_early);
      });
    }
    commit_copies();
    if (is_early) {
      wait_copies<0>();
      __syncwarp();
    }
    // Both halves need the same: each brings a part.
    const ActivationCopy<kRows, kGated ? 8 : 4> copy(
        call.input, range, first_row, activations, half * 4 + lane / 8);
    bool has_rows = false;
    const auto await_rows = [&] {
      if (kTurns && has_rows) return;
      has_rows = true;
      wait_copies<0>();
      __syncthreads();
      if (round == 0 && call.parts > 1) cluster_wait();  // all have started
    };
    if (round == 0) wait_for_previous();
    copy.run(count, rows);
    commit_copies();
    wait_copies<1>();  // the weights
    __syncwarp();
    if constexpr (!kTurns) {
      multiply(nullptr, range, count, 0, await_rows);
      continue;
    }
    const int slices = call.tile_count * kSlices;
    kept = 0;
    for (int at = index; at < slices; at += layout.at_once) {
      if (kept == layout.kept) {
        all_meet(call);
        if (part == 0) store(oldest, kept);
        all_meet(call);
        oldest = at;
        kept = 0;
      }
      const int next = at + layout.at_once;
      multiply(count > 0 && next < slices
                   ? find_slice<kGated>(call, next, half).data() + to_range
                   : nullptr,
               range, count, kept, await_rows);
      ++kept;
    }
  }
  if (call.parts > 1) {
    cluster_arrive();
    if (part > 0) return;
    cluster_wait();
  } else {
    __syncthreads();
  }
  if constexpr (kRows == 1 && !kTurns) {
    if (output == nullptr) return;
    *output = output_of<1, kGated>(call, partials, threadIdx.x, 0);
  } else {
    store(oldest, kept);
  }
}

template <int kBits, int kRows, bool kGated, bool kTurns>
__global__ __launch_bounds__(
    kMostThreads,
    resident_blocks(
        kRows, kGated ? 2 : 1)) void linear_small_kernel(const __grid_constant__
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
  run_warp<kBits, kRows, kGated, kTurns>(call, half, warp, shared);
}

template <int kBits, int kRows, bool kGated>
void launch(LaunchQueue& queue, const DeviceTraits& device, LinearCall& call,
            const SmallLayout& layout) {
  constexpr int kHalves = kGated ? 2 : 1;
  call.small = layout;
  const auto passes = static_cast<unsigned>((call.rows + kRows - 1) / kRows);
  auto* kernel = linear_small_kernel<kBits, kRows, kGated, false>;
  if (passes == 1) {
    const int at_once = slices_at_once(device, call, kHalves, kRows, layout);
    if ((kGated || call.piece_count == 1) &&
        take_turns(device, call, kHalves, at_once, call.small)) {
      kernel = linear_small_kernel<kBits, kRows, kGated, true>;
    } else if (device.overlaps) {
      call.early_slices = count_early(call, kHalves, at_once);
    }
  }
  LaunchShape shape = {dim3(static_cast<unsigned>(call.small.at_once), passes,
                            static_cast<unsigned>(call.parts)),
                       32 * layout.warps * kHalves, call.small.bytes};
  shape.cluster = call.parts;
  queue.launch(kernel, shape, call);
}

template <int kBits, bool kGated>
void launch_for_rows(LaunchQueue& queue, const DeviceTraits& device,
                     LinearCall& call) {
  constexpr int kHalves = kGated ? 2 : 1;
  // 16 rows a pass where that costs no warps.
  const int limit = device.shared_bytes;
  if (call.rows == 1) {
    launch<kBits, 1, kGated>(queue, device, call,
                             small_layout(call, kHalves, 1, limit));
    return;
  }
  const SmallLayout narrow = small_layout(call, kHalves, 8, limit);
  if (call.rows > 8) {
    const SmallLayout wide = small_layout(call, kHalves, 16, limit);
    if (wide.bytes <= limit && wide.warps == narrow.warps) {
      launch<kBits, 16, kGated>(queue, device, call, wide);
      return;
    }
  }
  launch<kBits, 8, kGated>(queue, device, call, narrow);
}

// Whether one code serves both pieces of a gated call.
bool is_alike(const LinearCall& call) {
  const WeightTiles &gates = call.pieces[0].weight,
                    &ups = call.pieces[1].weight;
  return gates.bits == ups.bits && gates.has_bias == ups.has_bias &&
         gates.steps_per_group == ups.steps_per_group;
}

}  // namespace

void launch_linear_small(LaunchQueue& queue, const DeviceTraits& device,
                         LinearCall call, int bits, bool gated) {
  call.parts = best_small_parts(device, call, gated ? 2 : 1);
  if (gated && !is_alike(call)) {
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
