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

template <bool kGated>
using Output = std::conditional_t<kGated, __nv_bfloat16, float>;

// Where output n of slice `index` goes in a row; null: it is not one.
template <bool kGated>
__device__ __forceinline__ Output<kGated>* find_output(const LinearCall& call,
                                                       int index, int n,
                                                       int64_t row) {
  const SlicePlace slice = find_slice<kGated>(call, index, 0);
  const int output = slice.tile * kTileRows + slice.slice * kSliceRows + n;
  if (output >= slice.piece->weight.rows) return nullptr;
  if constexpr (kGated) {
    return slab_at(call.gated_out, row, output);
  } else {
    const Rows& out = slice.piece->out;
    return out.data + row * out.stride + output;
  }
}

// What the sums of a slice's ranges give for its output n and row t of kRows.
template <int kRows, bool kGated>
__device__ __forceinline__ Output<kGated> output_of(const LinearCall& call,
                                                    const float* partials,
                                                    int n, int t) {
  const int ranges = call.small.ranges;
  const float value = joined<kRows>(partials, ranges, n, t);
  if constexpr (kGated) {
    const float up =
        joined<kRows>(partials + ranges * kRows * kSliceRows, ranges, n, t);
    return __float2bfloat16_rn(gated(value, up, call.is_silu != 0));
  } else {
    return value;
  }
}

// Stores the outputs of `kept` slices, every at_once-th from `index` on; all
// threads of the block.
template <int kRows, bool kGated>
__device__ __forceinline__ void store_slices(const LinearCall& call, int index,
                                             int kept, const float* partials,
                                             int first_row, int rows) {
  const int slice = (kGated ? 2 : 1) * call.small.ranges * kRows * kSliceRows;
  for (int i = threadIdx.x; i < kept * kRows * kSliceRows; i += blockDim.x) {
    const int n = i % kSliceRows, t = i / kSliceRows % kRows;
    const int slot = i / kSliceRows / kRows;
    if (t >= rows) continue;
    Output<kGated>* place = find_output<kGated>(
        call, index + slot * call.small.at_once, n, first_row + t);
    if (place == nullptr) continue;
    *place = output_of<kRows, kGated>(call, partials + slot * slice, n, t);
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_SLICES_CUH_
