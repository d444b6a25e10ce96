// Linear layers of many rows on Hopper: y^T = W x^T with wgmma.
//
// Persistent thread blocks of three warpgroups. Two threads of the third keep a
// ring of stages filled by bulk copies: per 64 k the activations of kWidth
// rows, already swizzled, and two weight tiles as packed. The first two
// multiply: each expands 64 outputs' codes in registers (the A operand) against
// the same activations (B, from shared memory), kWidth columns at a time. After
// every range of k the sum is added to the total, in ascending order: the bits
// are those of linear_small, whatever kWidth is (docs/numerics-cuda.md).
//
// Where outputs and rows are few and K is long, thread blocks share the K of a
// tile. Each but the first leaves the sum of every range of its own behind, the
// first its total; a join adds them in ascending order: the same bits.
//
// Gated: the rows g of each fragment are gates, the rows g + 8 the ups of the
// same outputs, so both meet in one thread and their product is stored as bf16.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_

#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_wide.h"
#include "backend/cuda/linear_wide_expand.cuh"
#include "backend/cuda/linear_wide_ring.cuh"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/wgmma.cuh"

namespace carat::cuda {

#ifdef CARAT_WIDE_DEVICE

// y as f32: lane 4 g + q holds outputs g and g + 8 of rows 8 j + 2 q and the
// next. Spoils the sums.
template <int kWidth>
__device__ __forceinline__ void store_plain(const LinearCall& call,
                                            const Rows& out,
                                            const WideTile& tile, int first_row,
                                            float (&sums)[kWidth / 2]) {
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
  for (int i = 0; i < kWidth / 2; ++i) {
    sums[i] = __fmul_rn(sums[i], kSumFactor);
  }
  pin(sums);  // else each product goes behind a branch of its own
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 8 * j + (i & 1), side = i >> 1;
      if (row < end[side]) to[row * out.stride + 8 * side] = sums[4 * j + i];
    }
  }
}

// Where K is shared: room for a sum that a join adds.
__device__ __forceinline__ Rows slot_of(const LinearCall& call, int slot) {
  return {call.partials.data + int64_t{slot} * call.rows * call.partials.stride,
          call.partials.stride};
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
    const auto product = [&](int i) {
      return gated<kIsSilu>(__fmul_rn(total[4 * j + i], kSumFactor),
                            __fmul_rn(total[4 * j + 2 + i], kSumFactor));
    };
    // Rows become lanes' g, outputs pairs 2q and 2q + 1.
    const uint32_t pair =
        transposed(as_bits(__floats2bfloat162_rn(product(0), product(1))));
    if (8 * j + g < end) {
      *reinterpret_cast<uint32_t*>(out + 8 * j * 128) = pair;
    }
  }
}

// A warpgroup that multiplies one work. While a k tile is multiplied, the next
// one's codes, which lie in registers, are expanded, and those after it are
// fetched; a stage is given back once the tensor cores have read it, a tile
// later. What bounds it beside the tensor cores is the number of instructions:
// while they are busy, one takes two cycles. So a block is unrolled. `parity`
// is that of the present block's first stage.
template <int kBits, int kWidth, bool kGated, bool kBias>
__device__ __forceinline__ void multiply(const LinearCall& call,
                                         const Ring& ring,
                                         const uint8_t* stages,
                                         const WideWork& place, int& parity) {
  constexpr WideRing kRing = kWideRing<kBits, kWidth>;
  // Where registers suffice, before the codes there are expanded.
  constexpr bool kLoadsEarly = kWidth <= (kGated ? 40 : 104);
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32;
  const int slice = kGated ? 2 * group + warp / 2 : warp;
  const uint64_t activations = wgmma_descriptor(ring.stages);
  const int range_length = range_tiles(call.input.k_tiles);
  const int pair = place.pair, row = place.row;
  const WideTile own = wide_tile<kGated>(call, pair, kGated ? 0 : group);
  float total[kWidth / 2], sum[kWidth / 2];
  Fragments a[2];
  TileExpander<kBits, kGated, kBias> next;
  next.take_side(warp % 2);
  const uint8_t* weights = stages + kWidth * 128;
  next.tile[0].place(own.piece->weight,
                     weights + (kGated ? 0 : group * kRing.weight_bytes), slice,
                     next.side);
  if constexpr (kGated) {
    next.tile[1].place(call.pieces[1].weight, weights + kRing.weight_bytes,
                       slice, next.side);
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
  const auto store = [&](float(&sums)[kWidth / 2], const Rows& out) {
    // An odd last tile comes twice.
    if (2 * pair + group >= call.tile_count) return;
    store_plain<kWidth>(call, out, own, row, sums);
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
    if constexpr (!kGated) {
      if (place.begin > 0) {
        store(sum, slot_of(call, range - WideCut::first_range(call, 1) + 1));
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
  if constexpr (kGated) {
    const int chunk = 4 * group + warp;
    call.is_silu != 0
        ? store_gated<kWidth, true>(call, pair, chunk, row, total)
        : store_gated<kWidth, false>(call, pair, chunk, row, total);
  } else if (place.begin == 0) {
    store(total, call.k_parts > 1 ? slot_of(call, 0) : own.piece->out);
  }
}

#endif  // CARAT_WIDE_DEVICE

template <int kBits, int kWidth, bool kGated, bool kBias>
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
  if (call.lets_next_start_late == 0) let_next_start();
  if (threadIdx.x >= kMultiplyThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == kMultiplyThreads) {
      fill_ring<kBits, kWidth, kGated, true, false>(call, ring);
      if (call.lets_next_start_late != 0) let_next_start();
    } else if (threadIdx.x == kMultiplyThreads + 32) {
      if (call.rows <= kRowsAtOnce) {
        fill_ring<kBits, kWidth, kGated, false, true>(call, ring);
      } else {
        fill_ring<kBits, kWidth, kGated, false, false>(call, ring);
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    wait_for_previous();
    const WideCut cut(call, kWidth, kGated);
    int parity = 0;
    for (int work = blockIdx.x; work < cut.works; work += gridDim.x) {
      multiply<kBits, kWidth, kGated, kBias>(call, ring, shared + kBarrierBytes,
                                             cut.at(call, work), parity);
    }
  }
#endif
}

/// The kernel of a width; null if there is none.
template <int kBits, bool kGated, bool kBias>
WideKernel wide_kernel_of(int width) {
  switch (width) {
    case 24:
      return linear_wide_kernel<kBits, 24, kGated, kBias>;
    case 32:
      return linear_wide_kernel<kBits, 32, kGated, kBias>;
    case 48:
      return linear_wide_kernel<kBits, 48, kGated, kBias>;
    case 64:
      return linear_wide_kernel<kBits, 64, kGated, kBias>;
    case 72:
      return linear_wide_kernel<kBits, 72, kGated, kBias>;
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
