// Slices (16 outputs) of a small linear call: where their weights lie, and what
// becomes of the sums of their ranges.
#ifndef CARAT_BACKEND_CUDA_SLICES_CUH_
#define CARAT_BACKEND_CUDA_SLICES_CUH_

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

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

// Output n of a slice and row t of kRows, all ranges joined.
template <int kRows>
__device__ __forceinline__ float joined(const float* partials, int ranges,
                                        int n, int t) {
  const float* at = partials + t * kSliceRows + n;
  float total = at[0];
#pragma unroll 4
  for (int r = 1; r < ranges; ++r) {
    total = __fadd_rn(total, at[r * kRows * kSliceRows]);
  }
  return __fmul_rn(total, kSumFactor);
}

// A thread's output of a row alone, found before the kernel before has ended.
template <bool kGated>
struct RowOutput {
  std::conditional_t<kGated, __nv_bfloat16, float>* place = nullptr;

  __device__ __forceinline__ RowOutput(const LinearCall& call, int index) {
    if (threadIdx.x >= kSliceRows) return;
    const SlicePlace slice = find_slice<kGated>(call, index, 0);
    const int output =
        slice.tile * kTileRows + slice.slice * kSliceRows + threadIdx.x;
    if (output >= slice.piece->weight.rows) return;
    if constexpr (kGated) {
      place = slab_at(call.gated_out, 0, output);
    } else {
      place = slice.piece->out.data + output;
    }
  }
  __device__ __forceinline__ void store(const LinearCall& call,
                                        const float* partials) const {
    if (place == nullptr) return;
    const int ranges = call.small.ranges, n = threadIdx.x;
    const float value = joined<1>(partials, ranges, n, 0);
    if constexpr (kGated) {
      const float up = joined<1>(partials + ranges * kSliceRows, ranges, n, 0);
      *place = __float2bfloat16_rn(gated(value, up, call.is_silu != 0));
    } else {
      *place = value;
    }
  }
};

// Stores the outputs of `kept` slices, every at_once-th from `index` on; all
// threads of the block.
template <int kRows, bool kGated>
__device__ __forceinline__ void store_slices(const LinearCall& call, int index,
                                             int kept, const float* partials,
                                             int first_row, int rows) {
  const int ranges = call.small.ranges;
  const int half = ranges * kRows * kSliceRows;
  for (int i = threadIdx.x; i < kept * kRows * kSliceRows; i += blockDim.x) {
    const int n = i % kSliceRows, t = i / kSliceRows % kRows;
    const int slot = i / kSliceRows / kRows;
    if (t >= rows) continue;
    const SlicePlace place =
        find_slice<kGated>(call, index + slot * call.small.at_once, 0);
    const int output = place.tile * kTileRows + place.slice * kSliceRows + n;
    if (output >= place.piece->weight.rows) continue;
    const int64_t row = first_row + t;
    const float* from = partials + slot * (kGated ? 2 : 1) * half;
    const float value = joined<kRows>(from, ranges, n, t);
    if constexpr (kGated) {
      const float up = joined<kRows>(from + half, ranges, n, t);
      *slab_at(call.gated_out, row, output) =
          __float2bfloat16_rn(gated(value, up, call.is_silu != 0));
    } else {
      const Rows& out = place.piece->out;
      out.data[row * out.stride + output] = value;
    }
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_SLICES_CUH_
