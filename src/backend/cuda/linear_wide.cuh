// Linear layers of many rows on Hopper: y^T = W x^T with wgmma.
//
// Persistent thread blocks of three warpgroups. Two threads of the third keep a
// ring of stages filled by bulk copies: per 64 k the activations of kWidth
// rows, already swizzled, and two weight tiles as packed. The first two
// multiply: each expands 64 outputs' codes in registers (the A operand) against
// the same activations (B, from shared memory), kWidth columns at a time. After
// every 512 k the sum is added to the total, in ascending order: the bits are
// those of linear_small, whatever kWidth is (docs/numerics-cuda.md).
//
// Split: where outputs and rows are few and K is long, thread blocks share the
// K of a tile. Each but the first leaves the sum of every range of its own
// behind, the first its total; join_ranges adds them in ascending order: the
// same bits.
//
// Gated: the rows g of each fragment are gates, the rows g + 8 the ups of the
// same outputs, so both meet in one thread and their product is stored as bf16.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_

#include "backend/cuda/activation.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_wide.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"
#include "backend/cuda/wgmma.cuh"

// wgmma and setmaxnreg exist for sm_90a alone; other targets get empty kernels
// that are never launched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_WIDE_DEVICE 1
#endif

namespace carat::cuda {

inline constexpr int kMultiplyThreads = 256;
inline constexpr int kWideThreads = 384;

#ifdef CARAT_WIDE_DEVICE

// The tile a warpgroup multiplies, and where its codes lie in a stage.
struct WideTile {
  const LinearPiece* piece;
  int tile;  // within the piece
};

__device__ __forceinline__ WideTile find_tile(const LinearCall& call,
                                              int tile) {
  tile = min(tile, call.tile_count - 1);
  int piece = 0;
  while (piece + 1 < call.piece_count &&
         tile >= call.pieces[piece + 1].first_tile) {
    ++piece;
  }
  return {&call.pieces[piece], tile - call.pieces[piece].first_tile};
}

template <bool kGated>
__device__ __forceinline__ WideTile wide_tile(const LinearCall& call, int pair,
                                              int half) {
  if constexpr (kGated) return {&call.pieces[half], pair};
  return find_tile(call, 2 * pair + half);
}

template <int kBits, int kWidth>
inline constexpr WideRing kWideRing(kBits, kWidth);

// Where the ring lies in shared memory; a stage has a barrier of each kind.
struct Ring {
  uint32_t full;  // barriers, 8 bytes apart
  uint32_t empty;
  uint32_t stages;
};

// What a thread block does next: a tile, or some ranges of its K.
struct WideWork {
  int pair, row;   // two tiles of 64 outputs, the first row
  int begin, end;  // k tiles

  template <int kWidth, bool kSplit>
  static __device__ __forceinline__ WideWork at(const LinearCall& call,
                                                int work, int columns) {
    WideWork result;
    const int tile = kSplit ? work / call.k_parts : work;
    result.pair = tile / columns;
    result.row = tile % columns * kWidth;
    result.begin = 0;
    result.end = call.input.k_tiles;
    if constexpr (kSplit) {
      const int part = work % call.k_parts;
      const int length = range_tiles(call.input.k_tiles);
      result.begin = length * first_range(call, part);
      result.end = min(result.end, length * first_range(call, part + 1));
    }
    return result;
  }
  static __device__ __forceinline__ int first_range(const LinearCall& call,
                                                    int part) {
    return range_count(call.input.k_tiles) * part / call.k_parts;
  }
};

// One thread: keeps the stages filled with rows of activations, or with
// weights; these do not depend on the kernels before. Where a block is short,
// its other stages pass empty, so that every block begins at the first.
template <int kBits, int kWidth, bool kGated, bool kSplit, bool kRows>
__device__ void fill_ring(const LinearCall& call, const Ring& ring, int works,
                          int columns) {
  constexpr WideRing kRing = kWideRing<kBits, kWidth>;
  const int64_t row_step = int64_t{call.input.capacity} * 128;
  int stage = 0, parity = 1;
  if (kRows) wait_for_previous();
  for (int work = blockIdx.x; work < works; work += gridDim.x) {
    const WideWork own = WideWork::at<kWidth, kSplit>(call, work, columns);
    const uint8_t* x =
        call.input.data + own.begin * row_step + int64_t{own.row} * 128;
    const int x_bytes = min(kWidth, call.input.capacity - own.row) * 128;
    const uint8_t* weights[2];
    int bytes[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const WideTile tile = wide_tile<kGated>(call, own.pair, half);
      bytes[half] = kSlices * tile.piece->weight.slice_bytes;
      weights[half] =
          tile.piece->weight.data +
          (int64_t{tile.tile} * call.input.k_tiles + own.begin) * bytes[half];
    }
    for (int kt = own.begin; kt < own.end || kt % kBlockTiles != 0; ++kt) {
      barrier_wait(ring.empty + 8 * stage, parity);
      const uint32_t barrier = ring.full + 8 * stage;
      const uint32_t to = ring.stages + stage * kRing.stage_bytes;
      if (kt >= own.end) {
        barrier_arrive(barrier);
      } else if constexpr (kRows) {
        barrier_expect(barrier, x_bytes);
        bulk_copy(to, x, x_bytes, barrier);
        x += row_step;
      } else {
        barrier_expect(barrier, bytes[0] + bytes[1]);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          bulk_copy(to + kWidth * 128 + half * kRing.weight_bytes,
                    weights[half], bytes[half], barrier);
          weights[half] += bytes[half];
        }
      }
      if (++stage == kRing.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

// Scales of a lane's slice that a k tile may have: groups of 32 or more for 4
// bits (linear_small takes others), of 16 or more for 8.
template <int kBits>
inline constexpr int kTileScales = kBits == 4 ? 2 : 4;

// A lane's part of a k tile, and where it finds it: addresses in the first
// stage.
template <int kBits, bool kBias>
struct LaneTile {
  const uint8_t* codes_at;
  const uint8_t* scales_at[kTileScales<kBits>];  // of rows g and g + 8
  LaneCodes<kBits> codes;
  uint32_t scales[kTileScales<kBits>];
  uint32_t biases[kTileScales<kBits>];

  __device__ __forceinline__ void place(const WeightTiles& weight,
                                        const uint8_t* tile, int slice) {
    const int lane = threadIdx.x % 32;
    const uint8_t* own = tile + slice * weight.slice_bytes;
    codes_at = own + lane * 16;
    constexpr int kWords = kGroupWords * (kBias ? 2 : 1);
#pragma unroll
    for (int i = 0; i < kTileScales<kBits>; ++i) {
      const int step = i * kStepsPerTile / kTileScales<kBits>;
      scales_at[i] = own + 128 * kBits +
                     4 * (step / weight.steps_per_group * kWords + lane / 4);
    }
  }

  // From the stage that lies `offset` bytes after the first.
  __device__ __forceinline__ void load(int offset) {
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      codes.planes[plane] =
          *reinterpret_cast<const uint4*>(codes_at + offset + plane * 512);
    }
#pragma unroll
    for (int i = 0; i < kTileScales<kBits>; ++i) {
      const auto* at = reinterpret_cast<const uint32_t*>(scales_at[i] + offset);
      scales[i] = at[0];
      biases[i] = kBias ? at[kGroupWords] : 0u;
    }
  }
};

// The A fragments of a k tile's steps.
using Fragments = uint32_t[kStepsPerTile][4];

// Expands k tiles to fragments. Gated: rows g of a fragment from the gates,
// rows g + 8 from the ups; `side` tells which of the lane's two rows of each.
template <int kBits, bool kGated, bool kBias>
struct TileExpander {
  static constexpr int kMatrices = kGated ? 2 : 1;
  static constexpr int kShare = kStepsPerTile / kTileScales<kBits>;
  LaneTile<kBits, kBias> tile[kMatrices];
  int side;

  __device__ __forceinline__ void load(int offset) {
#pragma unroll
    for (int i = 0; i < kMatrices; ++i) tile[i].load(offset);
  }

  __device__ __forceinline__ void expand(Fragments& a) const {
    LaneScale scale;
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      if (s % kShare == 0) scale = scale_of(s / kShare);
#pragma unroll
      for (int x = 0; x < 4; ++x) {
        const auto& codes = tile[kGated ? x & 1 : 0].codes;
        a[s][x] =
            scaled<kBias>(codes_of<kBits>(codes, s, kGated ? x >> 1 << 1 : x,
                                          kGated ? side : 0),
                          scale.scale[x & 1], scale.bias[x & 1]);
      }
    }
  }

 private:
  __device__ __forceinline__ LaneScale scale_of(int group) const {
    if constexpr (!kGated) {
      return spread(tile[0].scales[group], tile[0].biases[group]);
    }
    const uint32_t selector = side == 0 ? 0x1010 : 0x3232;
    LaneScale result;
#pragma unroll
    for (int i = 0; i < kMatrices; ++i) {
      result.scale[i] =
          as_bf16(__byte_perm(tile[i].scales[group], 0, selector));
      result.bias[i] = as_bf16(__byte_perm(tile[i].biases[group], 0, selector));
    }
    return result;
  }
};

// y as f32: lane 4 g + q holds outputs g and g + 8 of rows 8 j + 2 q and the
// next.
template <int kWidth>
__device__ __forceinline__ void store_plain(const LinearCall& call,
                                            const Rows& out,
                                            const WideTile& tile, int first_row,
                                            const float (&total)[kWidth / 2]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int n = tile.tile * kTileRows + threadIdx.x % 128 / 32 * kSliceRows + g;
  // Rows to store of outputs n and n + 8, counted from this lane's first.
  const int rows = call.rows - first_row - 2 * q;
  int end[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    end[side] = n + 8 * side < tile.piece->weight.rows ? rows : 0;
  }
  float* to = out.data + (first_row + 2 * q) * out.stride + n;
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 8 * j + (i & 1), side = i >> 1;
      if (row < end[side]) to[row * out.stride + 8 * side] = total[4 * j + i];
    }
  }
}

// Split: the sum of a range, or of the first part (-1), for join_ranges.
template <int kWidth>
__device__ __forceinline__ void leave_range(const LinearCall& call,
                                            const WideTile& own, int group,
                                            int row, int range,
                                            const float (&sum)[kWidth / 2]) {
  // An odd last tile comes twice.
  if (group == 1 && own.tile % 2 == 0) return;
  const int slot = range < 0 ? 0 : range - WideWork::first_range(call, 1) + 1;
  const Rows out = {
      call.partials.data + int64_t{slot} * call.rows * call.partials.stride,
      call.partials.stride};
  store_plain<kWidth>(call, out, own, row, sum);
}

__device__ __forceinline__ uint32_t transposed(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
               : "=r"(result)
               : "r"(pair));
  return result;
}

template <int kWidth, bool kIsSilu>
__device__ __forceinline__ void store_gated(const LinearCall& call, int tile,
                                            int chunk, int first_row,
                                            const float (&total)[kWidth / 2]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  // Outputs past the last have weights of zero: zeros stay zeros.
  const bool is_output =
      tile * kTileRows + 8 * chunk < call.pieces[0].weight.rows;
  const int end = is_output ? call.rows - first_row : 0;
  // first_row is a multiple of 8.
  uint8_t* out = slab_chunk(call.gated_out, first_row + g, tile, chunk) + 4 * q;
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
    const float first = gated<kIsSilu>(total[4 * j], total[4 * j + 2]);
    const float second = gated<kIsSilu>(total[4 * j + 1], total[4 * j + 3]);
    // Rows become lanes' g, outputs pairs 2q and 2q + 1.
    const uint32_t pair =
        transposed(as_bits(__floats2bfloat162_rn(first, second)));
    if (8 * j + g < end) {
      *reinterpret_cast<uint32_t*>(out + 8 * j * 128) = pair;
    }
  }
}

// A warpgroup that multiplies. While a k tile is multiplied, the next one's
// codes, which lie in registers, are expanded, and those after it are fetched;
// a stage is given back once the tensor cores have read it, a tile later. What
// bounds it beside the tensor cores is the number of instructions: while they
// are busy, one takes two cycles. So a block is unrolled.
template <int kBits, int kWidth, bool kGated, bool kBias, bool kSplit>
__device__ void multiply(const LinearCall& call, const Ring& ring,
                         const uint8_t* stages, int works, int columns) {
  constexpr WideRing kRing = kWideRing<kBits, kWidth>;
  // Where registers suffice, before the codes there are expanded.
  constexpr bool kLoadsEarly = !kGated && kWidth <= 104;
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32;
  const int slice = kGated ? 2 * group + warp / 2 : warp;
  const uint64_t activations = wgmma_descriptor(ring.stages);
  const int range_length = range_tiles(call.input.k_tiles);
  int parity = 0;  // of the present block's first stage
  for (int work = blockIdx.x; work < works; work += gridDim.x) {
    const WideWork place = WideWork::at<kWidth, kSplit>(call, work, columns);
    const int pair = place.pair, row = place.row;
    const WideTile own = wide_tile<kGated>(call, pair, kGated ? 0 : group);
    float total[kWidth / 2], sum[kWidth / 2];
    Fragments a[2];
    TileExpander<kBits, kGated, kBias> next;
    next.side = warp % 2;
    const uint8_t* weights = stages + kWidth * 128;
    next.tile[0].place(own.piece->weight,
                       weights + (kGated ? 0 : group * kRing.weight_bytes),
                       slice);
    if constexpr (kGated) {
      next.tile[1].place(call.pieces[1].weight, weights + kRing.weight_bytes,
                         slice);
    }

    // k tile `t` of the block, or one of the next.
    const auto wait_for = [&](int t) {
      barrier_wait(ring.full + 8 * (t % kRing.stages),
                   parity ^ (t / kRing.stages & 1));
    };
    const auto is_there = [&](int t) {
      return barrier_test(ring.full + 8 * (t % kRing.stages),
                          parity ^ (t / kRing.stages & 1));
    };
    const auto fetch = [&](auto& to, int t, bool is_known_there) {
      if (!is_known_there) wait_for(t);
      to.load(t % kRing.stages * kRing.stage_bytes);
    };
    // Each lane for itself: after wgmma the compiler leaves __syncwarp out, and
    // without it nothing orders the others' reads before one lane's arrival.
    const auto release = [&](int t) {
      barrier_arrive(ring.empty + 8 * (t % kRing.stages));
    };
    // Starts tile `t`, and waits for the one before it.
    const auto start = [&](Fragments& from, int t, bool is_first) {
      const uint64_t b =
          activations + t % kRing.stages * (kRing.stage_bytes / 16);
      pin(from);
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < kStepsPerTile; ++s) {
        Wgmma<kWidth>::step(sum, from[s], b + 2 * s, t + s > 0 || !is_first);
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (t > 0) {
        release(t - 1);
      } else if (!is_first) {
        release(kBlockTiles - 1);
      }
    };
    const auto finish_range = [&](int range, int left) {
      wgmma_wait<0>();
      pin(sum);
      release(min(left, kBlockTiles) - 1);
      // What a short block leaves out.
      for (int t = left; t < kBlockTiles; ++t) {
        wait_for(t);
        release(t);
      }
      if constexpr (kSplit) {
        if (place.begin > 0) {
          leave_range<kWidth>(call, own, group, row, range, sum);
          return;
        }
      }
#pragma unroll
      for (int i = 0; i < kWidth / 2; ++i) {
        total[i] = __fadd_rn(total[i], sum[i]);
      }
    };

    // -0 + x is x: the first range is the total as it is.
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) total[i] = -0.0f;
    fetch(next, 0, false);
    next.expand(a[0]);
    if (place.begin + 1 < place.end) fetch(next, 1, false);
#pragma unroll 1
    for (int kt = place.begin; kt < place.end; kt += kBlockTiles) {
      const int left = place.end - kt;
      const bool is_first = kt % range_length == 0;
#pragma unroll
      for (int t = 0; t < kBlockTiles; ++t) {
        // Asked before, known after: the answer takes a while.
        const bool is_next_there = t + 2 < left && is_there(t + 2);
        start(a[t % 2], t, is_first);
        if (t + 1 >= left) break;
        if constexpr (kLoadsEarly) {
          auto later = next;
          if (t + 2 < left) fetch(later, t + 2, is_next_there);
          next.expand(a[(t + 1) % 2]);
          next = later;
        } else {
          next.expand(a[(t + 1) % 2]);
          if (t + 2 < left) fetch(next, t + 2, is_next_there);
        }
      }
      if ((kt + kBlockTiles) % range_length == 0 || left <= kBlockTiles) {
        finish_range(kt / range_length, left);
      }
      if (kBlockTiles / kRing.stages % 2 != 0) parity ^= 1;
    }
    if constexpr (kSplit) {
      if (place.begin == 0)
        leave_range<kWidth>(call, own, group, row, -1, total);
    } else if constexpr (kGated) {
      const int chunk = 4 * group + warp;
      call.is_silu != 0
          ? store_gated<kWidth, true>(call, pair, chunk, row, total)
          : store_gated<kWidth, false>(call, pair, chunk, row, total);
    } else if (2 * pair + group < call.tile_count) {
      store_plain<kWidth>(call, own.piece->out, own, row, total);
    }
  }
}

#endif  // CARAT_WIDE_DEVICE

template <int kBits, int kWidth, bool kGated, bool kBias, bool kSplit = false>
__global__ __launch_bounds__(kWideThreads, 1) void linear_wide_kernel(
    const __grid_constant__ LinearCall call) {
#ifdef CARAT_WIDE_DEVICE
  extern __shared__ __align__(1024) uint8_t shared[];
  constexpr WideRing kRing = kWideRing<kBits, kWidth>;
  Ring ring;
  ring.full = shared_address(shared);
  ring.empty = ring.full + 8 * kRing.stages;
  ring.stages = ring.full + kBarrierBytes;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kRing.stages; ++i) {
      barrier_init(ring.full + 8 * i, 2);  // rows and weights
      barrier_init(ring.empty + 8 * i, kMultiplyThreads);
    }
    barrier_init_done();
  }
  __syncthreads();
  let_next_start();
  const int pairs = kGated ? call.tile_count : (call.tile_count + 1) / 2;
  const int columns = (call.rows + kWidth - 1) / kWidth;
  const int works = pairs * columns * (kSplit ? call.k_parts : 1);
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == 256) {
      fill_ring<kBits, kWidth, kGated, kSplit, true>(call, ring, works,
                                                     columns);
    } else if (threadIdx.x == 288) {
      fill_ring<kBits, kWidth, kGated, kSplit, false>(call, ring, works,
                                                      columns);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    wait_for_previous();
    multiply<kBits, kWidth, kGated, kBias, kSplit>(
        call, ring, shared + kBarrierBytes, works, columns);
  }
#endif
}

/// The kernel of a width; null if there is none.
template <int kBits, bool kGated, bool kBias>
WideKernel wide_kernel_of(int width) {
  switch (width) {
    case 48:
      return linear_wide_kernel<kBits, 48, kGated, kBias>;
    case 64:
      return linear_wide_kernel<kBits, 64, kGated, kBias>;
    case 80:
      return linear_wide_kernel<kBits, 80, kGated, kBias>;
    case 104:
      return linear_wide_kernel<kBits, 104, kGated, kBias>;
    case 128:
      return linear_wide_kernel<kBits, 128, kGated, kBias>;
    case 152:
      return linear_wide_kernel<kBits, 152, kGated, kBias>;
    case 160:
      return linear_wide_kernel<kBits, 160, kGated, kBias>;
    default:
      return nullptr;
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_
