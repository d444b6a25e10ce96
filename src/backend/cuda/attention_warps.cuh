// Four warps that work on 16 rows and a block of keys: each scores a quarter of
// the keys, all weigh, each multiplies a quarter of the dimensions.
#ifndef CARAT_BACKEND_CUDA_ATTENTION_WARPS_CUH_
#define CARAT_BACKEND_CUDA_ATTENTION_WARPS_CUH_

#include <type_traits>

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"

namespace carat::cuda {

inline constexpr int kWarpsThreads = 128;
inline constexpr int kScoreStride = kKeys + 8;

// Calls launch(dim) with the padded head size as a constant.
template <class Launch>
void launch_for_dim(int padded_dim, const Launch& launch) {
  switch (padded_dim) {
    case 64:
      return launch(std::integral_constant<int, 64>());
    case 128:
      return launch(std::integral_constant<int, 128>());
    default:
      return launch(std::integral_constant<int, 256>());
  }
}

// Scaled queries as f16; rows and columns that do not exist are zeros.
template <int kDim, int kCount>
__device__ inline void load_queries(const AttentionCall& call, const Tile& tile,
                                    uint8_t* shared) {
  for (int i = threadIdx.x; i < kCount * (kDim / 2); i += blockDim.x) {
    const int row = i / (kDim / 2), col = i % (kDim / 2) * 2;
    float2 pair = {0, 0};
    if (row < tile.rows && col < call.part.head_dim) {
      const int64_t at =
          tile.sequence.first_row + tile.first + position_in_tile(call, row);
      const int head = tile.kv_head * call.group + head_in_tile(call, row);
      pair = *reinterpret_cast<const float2*>(call.q.data + at * call.q.stride +
                                              head * call.part.head_dim + col);
    }
    *reinterpret_cast<uint32_t*>(
        shared + panel_address<kCount>(0, row, col / 8) + col % 8 * 2) =
        half_pair(__fmul_rn(pair.x, call.scale), __fmul_rn(pair.y, call.scale));
  }
}

// The scores of the keys [16 * part, + 16) for the queries [16 * group, + 16)
// of a tile, finished, to scores[row of 16][key].
template <int kDim, int kQueries>
__device__ __forceinline__ void score_part(const AttentionCall& call,
                                           int64_t block, uint32_t queries,
                                           int group, uint32_t keys, int part,
                                           const Visible (&visible)[2],
                                           float (*scores)[kScoreStride]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  float own[2][4];
  score_keys<kDim, kQueries, 2>(queries, 16 * group, keys, 2 * part, own);
  const auto place = [&](int j, int i) {
    const int key = 16 * part + 8 * j + 2 * q + (i & 1);
    return &scores[g + 8 * (i >> 1)][key];
  };
  // Visible keys within the block.
  const auto within = [&](int64_t at) {
    return static_cast<int>(
        min(max(at - block * kKeys, int64_t{0}), int64_t{kKeys}));
  };
  const int begin[2] = {within(visible[0].begin), within(visible[1].begin)};
  const int end[2] = {within(visible[0].end), within(visible[1].end)};
  const auto is_visible = [&](int j, int i) {
    const int key = 16 * part + 8 * j + 2 * q + (i & 1);
    return i < 2 ? key >= begin[0] && key < end[0]
                 : key >= begin[1] && key < end[1];
  };
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      *place(j, i) = is_visible(j, i) ? own[j][i] : kMinusInfinity;
    }
  }
  if (!(call.softcap > 0)) return;
    // A loop: eight times the code would be in the way of those without.
#pragma unroll 1
  for (int i = 0; i < 8; ++i) {
    if (!is_visible(i / 4, i % 4)) continue;
    float* score = place(i / 4, i % 4);
    *score = capped(*score, call.softcap);
  }
}

// `sides` 1: there are no more than eight rows.
__device__ __forceinline__ BlockWeights
weigh_shared(const float (*scores)[kScoreStride], int sides) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  float score[8][4];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      if (side >= sides) break;
      const float2 pair = *reinterpret_cast<const float2*>(
          &scores[g + 8 * side][8 * j + 2 * q]);
      score[j][2 * side] = pair.x;
      score[j][2 * side + 1] = pair.y;
    }
  }
  return weigh(score, sides);
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_WARPS_CUH_
