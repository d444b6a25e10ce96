// The ring of stages of the wide linear kernels: what a thread block multiplies
// next, and the two threads that bring it.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_RING_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_RING_CUH_

#include "backend/cuda/barrier.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_wide.h"
#include "backend/cuda/overlap.cuh"

// wgmma and setmaxnreg exist for sm_90a alone; other targets get empty kernels
// that are never launched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_WIDE_DEVICE 1
#endif

namespace carat::cuda {

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

// Up to so many rows few weights are read again; with more it was 1 to 2%
// slower.
constexpr int kRowsAtOnce = 256;

// Where the ring lies in shared memory; a stage has a barrier of each kind.
struct Ring {
  uint32_t full;  // barriers, 8 bytes apart
  uint32_t empty;
  uint32_t stages;
};

// One thread: keeps the stages filled with rows of activations, or with
// weights; these do not depend on the kernels before. Where a block is short,
// its other stages pass empty, so that every block begins at the first. kOnce:
// weights that come once a pass had better not drive out of the L2 cache what
// comes again: activations, partial sums, and the kernels' instructions.
template <int kBits, int kWidth, bool kGated, bool kRows, bool kOnce>
__device__ void fill_ring(const LinearCall& call, const Ring& ring) {
  constexpr WideRing kRing = kWideRing<kBits, kWidth>;
  const int64_t row_step = int64_t{call.input.capacity} * 128;
  const WideCut cut(call, kWidth, kGated);
  uint64_t policy = 0;
  if (kOnce) policy = evict_first_policy();
  int stage = 0, parity = 1;
  if (kRows) wait_for_previous();
  for (int work = blockIdx.x; work < cut.works; work += gridDim.x) {
    const WideWork own = cut.at(call, work);
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
          const uint32_t at = to + kWidth * 128 + half * kRing.weight_bytes;
          if constexpr (kOnce) {
            bulk_copy(at, weights[half], bytes[half], barrier, policy);
          } else {
            bulk_copy(at, weights[half], bytes[half], barrier);
          }
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

#endif  // CARAT_WIDE_DEVICE

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_RING_CUH_
