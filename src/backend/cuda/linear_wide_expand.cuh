// Codes of a k tile in a stage of the ring to the A fragments of wgmma.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_

#include "backend/cuda/unpack.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

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

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_
