// Codes of a k tile in a stage of the ring to the A fragments of wgmma.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_

#include <type_traits>

#include "backend/cuda/unpack.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

// Scales of a lane's slice that a k tile may have: groups of 32 or more for 4
// bits (linear_small takes others), of 16 or more for 8.
template <int kBits>
inline constexpr int kTileScales = kBits == 4 ? 2 : 4;

// A lane's part of a k tile, and where it finds it: addresses in the first
// stage. Of scales kHalf takes one row's alone, in the low half.
template <int kBits, bool kBias, bool kHalf>
struct LaneTile {
  using Scale = std::conditional_t<kHalf, uint16_t, uint32_t>;
  const uint8_t* codes_at;
  const uint8_t* scales_at[kTileScales<kBits>];
  LaneCodes<kBits> codes;
  uint32_t scales[kTileScales<kBits>];
  uint32_t biases[kTileScales<kBits>];

  __device__ __forceinline__ void place(const WeightTiles& weight,
                                        const uint8_t* tile, int slice,
                                        int side) {
    const int lane = threadIdx.x % 32;
    const uint8_t* own = tile + slice * weight.slice_bytes;
    codes_at = own + lane * 16;
    constexpr int kWords = kGroupWords * (kBias ? 2 : 1);
#pragma unroll
    for (int i = 0; i < kTileScales<kBits>; ++i) {
      const int step = i * kStepsPerTile / kTileScales<kBits>;
      scales_at[i] = own + 128 * kBits + (kHalf ? 2 * side : 0) +
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
      const uint8_t* at = scales_at[i] + offset;
      scales[i] = *reinterpret_cast<const Scale*>(at);
      biases[i] =
          kBias ? *reinterpret_cast<const Scale*>(at + 4 * kGroupWords) : 0u;
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
  LaneTile<kBits, kBias, kGated> tile[kMatrices];
  int side;
  uint32_t selector;  // of a row's codes: a mask, or for 8 bits bytes
  uint32_t centre;

  __device__ __forceinline__ void take_side(int which) {
    side = which;
    if (kBits == 4) {
      selector = side == 0 ? 0x000f000f : 0x00f000f0;
    } else {
      selector = side == 0 ? 0x4240 : 0x4341;
    }
    centre = minus_centre<kBits>(side);
  }

  __device__ __forceinline__ void load(int offset) {
#pragma unroll
    for (int i = 0; i < kMatrices; ++i) tile[i].load(offset);
  }

  __device__ __forceinline__ void expand(Fragments& a) const {
    LaneScale scale[kMatrices];
#pragma unroll
    for (int s = 0; s < kStepsPerTile; ++s) {
      if (s % kShare == 0) {
#pragma unroll
        for (int i = 0; i < kMatrices; ++i) {
          scale[i] = group_scale(tile[i], s / kShare);
        }
      }
      if constexpr (kGated) {
#pragma unroll
        for (int x = 0; x < 4; ++x) {
          a[s][x] = weights_of(side_codes(tile[x & 1].codes, s, x >> 1),
                               scale[x & 1], 0);
        }
      } else {
        cuda::expand<kBits>(tile[0].codes, s, scale[0], a[s]);
      }
    }
  }

 private:
  __device__ __forceinline__ LaneScale
  group_scale(const LaneTile<kBits, kBias, kGated>& from, int group) const {
    const uint32_t scales = from.scales[group], biases = from.biases[group];
    if constexpr (kGated && !kBias) {
      return {as_bf16(scales), __hmul2(as_bf16(scales), as_bf16(centre))};
    }
    return cuda::scale_of<kBits, kBias>(scales, biases);
  }
  // Those of this side's row; `upper`: k = 2q + 8 and the next.
  __device__ __forceinline__ __nv_bfloat162
  side_codes(const LaneCodes<kBits>& codes, int s, int upper) const {
    if constexpr (kBits == 4) {
      return as_bf16(word_of(codes.planes[0], s) >> (8 * upper) & selector);
    } else {
      return as_bf16(__byte_perm(
          word_of(codes.planes[s / 2], 2 * (s & 1) + upper), 0, selector));
    }
  }
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_EXPAND_CUH_
