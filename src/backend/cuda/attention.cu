// Causal attention over the block cache, full or windowed, grouped heads.
//
// The rows of a tile are (position, query head of the group): positions times
// `group`. Four warps work on 16 rows (attention_warps.cuh). Wide: 32 rows a
// thread block, blocks of keys one after the other, the next one's keys loading
// under this one's work. Split: up to 16 rows, long contexts, a thread block
// for every block of keys, then one merge. On Hopper there are two more:
// attention_tensor.cu for many rows, attention_joint.cu for few. All give the
// same bits (attention_block.cuh).
//
// Tiles, sequences and tables lie on the device before a chunk's first kernel
// starts and may be read before wait_for_previous(); so may, if the call says
// so, the blocks before a sequence's rows.
#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/attention_warps.cuh"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

template <int kDim, int kGroups>
__global__ __launch_bounds__(
    128 * kGroups,
    kGroups == 2 ? 2 : 1) void attention_wide_kernel(const __grid_constant__
                                                         AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  constexpr int kTileBytes = kBlockBytes<kDim>;
  constexpr int kQueries = 16 * kGroups;
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x, blockIdx.y);
  wait_for_previous();
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kQueries * kDim * 2;
  const uint32_t values = keys + kTileBytes;
  const int group = threadIdx.x / 128, part = threadIdx.x % 128 / 32;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  auto* scores = reinterpret_cast<float(*)[kScoreStride]>(
                     shared + kQueries * kDim * 2 + 2 * kTileBytes) +
                 16 * group;

  load_queries<kDim, kQueries>(call, tile, shared);
  __syncthreads();

  constexpr int kColumns = kDim / 64;  // of 16 dimensions, a warp's share
  Chain<4 * kColumns> joint[2];        // of rows g and g + 8
  Visible visible[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    visible[side] =
        visible_to(call, tile.position(call, 16 * group + g + 8 * side));
  }

  const auto load_keys = [&](int64_t block) {
    if (block <= tile.last_block) {
      load_block<kDim>(keys, keys_of<kDim>(call, tile, block));
    }
    commit_copies();
  };
  const auto first_of = [&](int chain) {
    return tile.first_block + ((tile.first_block ^ chain) & 1);
  };
  load_keys(first_of(0) <= tile.last_block ? first_of(0) : first_of(1));
#pragma unroll 1
  for (int chain = 0; chain < 2; ++chain) {
    Chain<4 * kColumns> own[2];
#pragma unroll 1
    for (int64_t block = first_of(chain); block <= tile.last_block;
         block += 2) {
      load_block<kDim>(
          values, keys_of<kDim>(call, tile, block) + value_offset<kDim>(call));
      commit_copies();
      wait_copies<1>();
      __syncthreads();
      score_part<kDim, kQueries>(call, block, queries, group, keys, part,
                                 visible, scores);
      __syncthreads();  // keys have been read, scores are there
      load_keys(block + 2 <= tile.last_block || chain > 0 ? block + 2
                                                          : first_of(1));
      const BlockWeights weights = weigh_shared(scores, 2);
      MergeFactors factors[2];
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        factors[side] = merge_factors(own[side].largest, weights.largest[side]);
        own[side].largest = factors[side].largest;
        own[side].sum = merged(own[side].sum, weights.sum[side], factors[side]);
      }
      wait_copies<1>();
      __syncthreads();
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        float value[2][4];
        weigh_values(weights, values, part * kColumns + c, value);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float& out = own[i / 2 % 2].out[4 * c + i / 4 * 2 + i % 2];
          out = merged(out, value[i / 4][i % 4], factors[i / 2 % 2]);
        }
      }
      __syncthreads();  // values have been read
    }
    joint[0].add(own[0]);
    joint[1].add(own[1]);
  }
  wait_copies<0>();
  const float inverse[2] = {fast_reciprocal(joint[0].sum),
                            fast_reciprocal(joint[1].sum)};
#pragma unroll
  for (int j = 0; j < 2 * kColumns; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      store_pair(call, tile, 16 * group + g + 8 * side,
                 part * (kDim / 4) + 8 * j + 2 * q,
                 finished(joint[side].out[2 * j], inverse[side]),
                 finished(joint[side].out[2 * j + 1], inverse[side]));
    }
  }
}

template <int kDim>
__global__ __launch_bounds__(kWarpsThreads) void attention_split_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ __align__(16) float scores[kFewQueries][kScoreStride];
  constexpr int kTileBytes = kBlockBytes<kDim>;
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x, blockIdx.y);
  const int64_t block = tile.first_block + blockIdx.z;
  if (block > tile.last_block) return;
  if (!is_older(call, tile, block)) wait_for_previous();
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kFewQueries * kDim * 2;
  const uint32_t values = keys + kTileBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;

  const uint8_t* from = keys_of<kDim>(call, tile, block);
  load_block<kDim>(keys, from);
  commit_copies();
  load_block<kDim>(values, from + value_offset<kDim>(call));
  commit_copies();
  wait_for_previous();
  load_queries<kDim, kFewQueries>(call, tile, shared);
  wait_copies<1>();
  __syncthreads();
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  score_part<kDim, kFewQueries>(call, block, queries, 0, keys, warp, visible,
                                scores);
  wait_copies<0>();
  __syncthreads();
  const BlockWeights weights = weigh_shared(scores, tile.rows > 8 ? 2 : 1);
  float* partial = partial_of<kDim>(call, blockIdx.z);
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int row = g + 8 * side;
    if (warp == 0 && q == 0 && row < tile.rows) {
      partial[kFewQueries * kDim + row] = weights.largest[side];
      partial[kFewQueries * (kDim + 1) + row] = weights.sum[side];
    }
  }
#pragma unroll
  for (int c = 0; c < kDim / 64; ++c) {
    const int column = warp * (kDim / 64) + c;
    float value[2][4];
    weigh_values(weights, values, column, value);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        const int row = g + 8 * side;
        if (row >= tile.rows) continue;
        *reinterpret_cast<float2*>(partial + row * kDim + 16 * column +
                                   8 * half + 2 * q) = {
            value[half][2 * side], value[half][2 * side + 1]};
      }
    }
  }
}

// One thread block a (tile, kv head, row); a thread two dimensions.
template <int kDim>
__global__ __launch_bounds__(kDim / 2) void attention_merge_kernel(
    const __grid_constant__ AttentionCall call) {
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x, blockIdx.y);
  const int row = blockIdx.z;
  if (row >= tile.rows) return;
  wait_for_previous();
  const int blocks = static_cast<int>(tile.last_block - tile.first_block) + 1;
  const int col = threadIdx.x * 2;
  const auto joint = merge_blocks<2>(tile.first_block, blocks, [&](int block) {
    const float* partial = partial_of<kDim>(call, block);
    const float2 value =
        *reinterpret_cast<const float2*>(partial + row * kDim + col);
    return Chain<2>{partial[kFewQueries * kDim + row],
                    partial[kFewQueries * (kDim + 1) + row],
                    {value.x, value.y}};
  });
  const float inverse = fast_reciprocal(joint.sum);
  store_pair(call, tile, row, col, finished(joint.out[0], inverse),
             finished(joint.out[1], inverse));
}

template <int kDim>
void launch_wide(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  constexpr int kGroups = kWideQueries / 16;
  queue.launch(
      attention_wide_kernel<kDim, kGroups>,
      {grid, kWarpsThreads * kGroups,
       (kWideQueries + 2 * kKeys) * kDim * 2 + kWideQueries * kScoreStride * 4},
      call);
}

template <int kDim>
void launch_split(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  const dim3 blocks(grid.x, grid.y, static_cast<unsigned>(call.splits));
  const dim3 rows(grid.x, grid.y,
                  static_cast<unsigned>(call.tile_rows * call.group));
  queue.launch(attention_split_kernel<kDim>,
               {blocks, kWarpsThreads, (kFewQueries + 2 * kKeys) * kDim * 2},
               call);
  queue.launch(attention_merge_kernel<kDim>, {rows, kDim / 2, 0}, call);
}

}  // namespace

bool attention_supports(int head_dim) {
  return head_dim > 0 && head_dim <= 256 && head_dim % 8 == 0;
}

int64_t partial_floats(int padded_dim) {
  return int64_t{kFewQueries} * (padded_dim + 2);
}

void launch_attention_wide(LaunchQueue& queue, const AttentionCall& call,
                           int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  launch_for_dim(call.part.padded_dim, [&](auto dim) {
    launch_wide<decltype(dim)::value>(queue, call, grid);
  });
}

void launch_attention_split(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  launch_for_dim(call.part.padded_dim, [&](auto dim) {
    launch_split<decltype(dim)::value>(queue, call, grid);
  });
}

}  // namespace carat::cuda
