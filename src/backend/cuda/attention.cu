// Causal attention over the block cache, full or windowed, grouped heads.
//
// The rows of a tile are (position, query head of the group): positions times
// `group`. Four warps work on 16 rows: each scores a quarter of a block's keys
// and weighs a quarter of the dimensions. Wide: 32 rows a thread block, blocks
// of keys one after the other, the next one's keys loading under this one's
// work. Joint: up to 16 rows, a cluster of thread blocks shares the blocks of
// keys and merges them. Split: the same without clusters and for long contexts,
// a thread block for every block of keys, then one merge. All give the same
// bits (attention_block.cuh).
//
// Tiles, sequences and tables lie on the device before a chunk's first kernel
// starts and may be read before wait_for_previous(); so may, if the call says
// so, the blocks before a sequence's rows.
#include <algorithm>

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/cluster.cuh"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

constexpr int kThreads = 128;  // of a group of 16 queries
constexpr int kScoreStride = kKeys + 8;
constexpr int kMostParts = 8;  // thread blocks of a cluster
constexpr int kJointStaticBytes = kFewQueries * kScoreStride * 4;

// Scaled queries as f16; rows and columns that do not exist are zeros.
template <int kDim, int kCount>
__device__ void load_queries(const AttentionCall& call, const Tile& tile,
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
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 16 * part + 8 * j + 2 * q + (i & 1), side = i >> 1;
      const int64_t at = block * kKeys + key;
      scores[g + 8 * side][key] =
          finish_score(own[j][i], call.softcap,
                       at >= visible[side].begin && at < visible[side].end);
    }
  }
}

__device__ __forceinline__ BlockWeights
weigh_shared(const float (*scores)[kScoreStride]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  float score[8][4];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float2 pair = *reinterpret_cast<const float2*>(
          &scores[g + 8 * side][8 * j + 2 * q]);
      score[j][2 * side] = pair.x;
      score[j][2 * side + 1] = pair.y;
    }
  }
  return weigh(score);
}

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
      const BlockWeights weights = weigh_shared(scores);
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
  const float inverse[2] = {__fdiv_rn(1.0f, joint[0].sum),
                            __fdiv_rn(1.0f, joint[1].sum)};
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
__global__ __launch_bounds__(kThreads) void attention_split_kernel(
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
  const BlockWeights weights = weigh_shared(scores);
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
  const float inverse = __fdiv_rn(1.0f, joint.sum);
  store_pair(call, tile, row, col, finished(joint.out[0], inverse),
             finished(joint.out[1], inverse));
}

// A cluster a (tile, kv head); its thread block `rank` takes the blocks rank,
// rank + call.splits, ..., two of them loading ahead, keeps their partial
// results in its shared memory, and merges a part of the dimensions.
template <int kDim>
__global__ __launch_bounds__(kThreads) void attention_joint_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ __align__(16) float scores[kFewQueries][kScoreStride];
  constexpr int kTileBytes = kBlockBytes<kDim>;
  let_next_start();
  cluster_arrive_started();
  const int parts = gridDim.z, rank = blockIdx.z;
  const Tile tile = find_tile(call, blockIdx.x, blockIdx.y);
  const int blocks = static_cast<int>(tile.last_block - tile.first_block) + 1;
  const uint32_t queries = shared_address(shared);
  const uint32_t ring = queries + kFewQueries * kDim * 2;
  const int rounds = (blocks - rank + parts - 1) / parts;  // of this block
  // [round][row][kDim], then {largest, sum} [round][row].
  const int most_rows = call.tile_rows * call.group;
  const int kv_bytes = 2 * kTileBytes * min(call.rounds, 2);
  const uint32_t partials = ring + kv_bytes;
  const uint32_t stats = partials + call.rounds * most_rows * kDim * 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;

  const auto block_of = [&](int round) {
    return tile.first_block + rank + round * parts;
  };
  const auto load = [&](int round) {
    if (round < rounds) {
      const uint32_t keys = ring + round % 2 * (2 * kTileBytes);
      const uint8_t* from = keys_of<kDim>(call, tile, block_of(round));
      load_block<kDim>(keys, from);
      load_block<kDim>(keys + kTileBytes, from + value_offset<kDim>(call));
    }
    commit_copies();
  };
  int loaded = 0;
  while (loaded < 2 &&
         (loaded >= rounds || is_older(call, tile, block_of(loaded)))) {
    load(loaded++);
  }
  wait_for_previous();
  while (loaded < 2) load(loaded++);
  load_queries<kDim, kFewQueries>(call, tile, shared);
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  for (int round = 0; round < rounds; ++round) {
    const uint32_t keys = ring + round % 2 * (2 * kTileBytes);
    wait_copies<1>();
    __syncthreads();
    score_part<kDim, kFewQueries>(call, block_of(round), queries, 0, keys, warp,
                                  visible, scores);
    __syncthreads();
    const BlockWeights weights = weigh_shared(scores);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int row = g + 8 * side;
      if (warp == 0 && q == 0 && row < tile.rows) {
        store_shared(stats + 8 * (round * most_rows + row),
                     weights.largest[side], weights.sum[side]);
      }
    }
#pragma unroll
    for (int c = 0; c < kDim / 64; ++c) {
      const int column = warp * (kDim / 64) + c;
      float value[2][4];
      weigh_values(weights, keys + kTileBytes, column, value);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const int row = g + 8 * side;
          if (row >= tile.rows) continue;
          store_shared(partials + 4 * ((round * most_rows + row) * kDim +
                                       16 * column + 8 * half + 2 * q),
                       value[half][2 * side], value[half][2 * side + 1]);
        }
      }
    }
    __syncthreads();  // keys, values and scores have been read
    load(round + 2);
  }
  cluster_wait();  // all have started
  cluster_arrive();
  cluster_wait();  // all partial results are there
  const int columns = kDim / parts;
  for (int i = threadIdx.x; i < tile.rows * (columns / 2); i += kThreads) {
    const int row = i / (columns / 2);
    const int col = rank * columns + i % (columns / 2) * 2;
    const auto joint =
        merge_blocks<2>(tile.first_block, blocks, [&](int block) {
          const int at = block / parts * most_rows + row;
          const float2 value = cluster_load_pair(
              cluster_address(partials, block % parts) + 4 * (at * kDim + col));
          const float2 stat =
              cluster_load_pair(cluster_address(stats, block % parts) + 8 * at);
          return Chain<2>{stat.x, stat.y, {value.x, value.y}};
        });
    const float inverse = __fdiv_rn(1.0f, joint.sum);
    store_pair(call, tile, row, col, finished(joint.out[0], inverse),
               finished(joint.out[1], inverse));
  }
  cluster_arrive_read();
  cluster_wait();  // the others have read this one's
}

template <int kDim>
void launch_wide(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  constexpr int kGroups = kWideQueries / 16;
  queue.launch(
      attention_wide_kernel<kDim, kGroups>,
      {grid, kThreads * kGroups,
       (kWideQueries + 2 * kKeys) * kDim * 2 + kWideQueries * kScoreStride * 4},
      call);
}

template <int kDim>
void launch_split(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  const dim3 blocks(grid.x, grid.y, static_cast<unsigned>(call.splits));
  const dim3 rows(grid.x, grid.y,
                  static_cast<unsigned>(call.tile_rows * call.group));
  queue.launch(attention_split_kernel<kDim>,
               {blocks, kThreads, (kFewQueries + 2 * kKeys) * kDim * 2}, call);
  queue.launch(attention_merge_kernel<kDim>, {rows, kDim / 2, 0}, call);
}

// Bytes of shared memory of a thread block of attention_joint_kernel.
int joint_bytes(const AttentionCall& call, int dim) {
  const int rows = call.tile_rows * call.group;
  return kFewQueries * dim * 2 +
         2 * kKeys * dim * 2 * std::min(call.rounds, 2) +
         call.rounds * rows * (dim * 4 + 8);
}

template <int kDim>
void launch_joint(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  LaunchShape shape = {dim3(grid.x, grid.y, static_cast<unsigned>(call.splits)),
                       kThreads, joint_bytes(call, kDim)};
  shape.cluster = call.splits;
  queue.launch(attention_joint_kernel<kDim>, shape, call);
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
  switch (call.part.padded_dim) {
    case 64:
      return launch_wide<64>(queue, call, grid);
    case 128:
      return launch_wide<128>(queue, call, grid);
    default:
      return launch_wide<256>(queue, call, grid);
  }
}

void launch_attention_split(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  switch (call.part.padded_dim) {
    case 64:
      return launch_split<64>(queue, call, grid);
    case 128:
      return launch_split<128>(queue, call, grid);
    default:
      return launch_split<256>(queue, call, grid);
  }
}

bool cut_joint(const DeviceTraits& device, AttentionCall& call,
               int64_t most_blocks) {
  constexpr int64_t kMostRounds = 4;
  const int parts = most_blocks >= kMostParts ? kMostParts : kMostParts / 2;
  const int64_t rounds = (most_blocks + parts - 1) / parts;
  if (!device.has_clusters || rounds > kMostRounds) return false;
  call.splits = parts;
  call.rounds = static_cast<int32_t>(rounds);
  return joint_bytes(call, call.part.padded_dim) <=
         device.shared_bytes - kJointStaticBytes;
}

void launch_attention_joint(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  switch (call.part.padded_dim) {
    case 64:
      return launch_joint<64>(queue, call, grid);
    case 128:
      return launch_joint<128>(queue, call, grid);
    default:
      return launch_joint<256>(queue, call, grid);
  }
}

}  // namespace carat::cuda
