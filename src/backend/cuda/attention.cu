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
template <int kDim>
__device__ void load_queries(const AttentionCall& call, const Tile& tile,
                             int count, uint8_t* shared) {
  for (int i = threadIdx.x; i < count * (kDim / 2); i += blockDim.x) {
    const int row = i / (kDim / 2), col = i % (kDim / 2) * 2;
    float2 pair = {0, 0};
    if (row < tile.rows && col < call.part.head_dim) {
      const int64_t at =
          tile.sequence.first_row + tile.first + position_in_tile(call, row);
      const int head = tile.kv_head * call.group + head_in_tile(call, row);
      pair = *reinterpret_cast<const float2*>(call.q.data + at * call.q.stride +
                                              head * call.part.head_dim + col);
    }
    *reinterpret_cast<uint32_t*>(shared + row * kDim * 2 +
                                 (((col / 8) ^ (row & 7)) << 4) + col % 8 * 2) =
        half_pair(__fmul_rn(pair.x, call.scale), __fmul_rn(pair.y, call.scale));
  }
}

// So that columns past head_dim, which nothing loads, are zeros.
template <int kDim>
__device__ void zero_tail(const AttentionCall& call, uint8_t* shared,
                          int bytes) {
  if (call.part.head_dim == kDim) return;
  for (int i = threadIdx.x; i < bytes / 16; i += blockDim.x) {
    reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
  }
}

// The scores of the keys [16 * part, + 16) for the queries [16 * group, + 16)
// of a tile, finished, to scores[row of 16][key].
template <int kDim>
__device__ __forceinline__ void score_part(const AttentionCall& call,
                                           int64_t block, uint32_t queries,
                                           int group, uint32_t keys, int part,
                                           const Visible (&visible)[2],
                                           float (*scores)[kScoreStride]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  float own[2][4];
  score_keys<kDim, 2>(queries, 16 * group, keys, 2 * part, own);
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
  constexpr int kTileBytes = kKeys * kDim * 2;
  constexpr int kQueries = 16 * kGroups;
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x);
  wait_for_previous();
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kQueries * kDim * 2;
  const uint32_t values = keys + kTileBytes;
  const int group = threadIdx.x / 128, part = threadIdx.x % 128 / 32;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  auto* scores = reinterpret_cast<float(*)[kScoreStride]>(
                     shared + kQueries * kDim * 2 + 2 * kTileBytes) +
                 16 * group;

  zero_tail<kDim>(call, shared + kQueries * kDim * 2, 2 * kTileBytes);
  load_queries<kDim>(call, tile, kQueries, shared);
  __syncthreads();

  constexpr int kColumns = kDim / 64;  // of 16 dimensions, a warp's share
  float out[2 * kColumns][4], largest[2], sum[2];
#pragma unroll
  for (int j = 0; j < 2 * kColumns; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[j][i] = 0;
  }
  Visible visible[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    largest[side] = kMinusInfinity;
    sum[side] = 0;
    visible[side] =
        visible_to(call, tile.position(call, 16 * group + g + 8 * side));
  }

  const auto load_keys = [&](int64_t block) {
    load_rows<kDim>(keys, keys_of(call, tile, block), call.part.head_dim);
    commit_copies();
  };
  load_keys(tile.first_block);
  for (int64_t block = tile.first_block; block <= tile.last_block; ++block) {
    load_rows<kDim>(values, keys_of(call, tile, block) + value_offset(call),
                    call.part.head_dim);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    score_part<kDim>(call, block, queries, group, keys, part, visible, scores);
    __syncthreads();  // keys have been read, scores are there
    if (block < tile.last_block) load_keys(block + 1);
    const BlockWeights weights = weigh_shared(scores);
    MergeFactors factors[2];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      factors[side] = merge_factors(largest[side], weights.largest[side]);
      largest[side] = factors[side].largest;
      sum[side] = merged(sum[side], weights.sum[side], factors[side]);
    }
    if (block < tile.last_block) {
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float value[2][4];
      weigh_values<kDim>(weights, values, part * kColumns + c, value);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[2 * c][i] = merged(out[2 * c][i], value[0][i], factors[i >> 1]);
        out[2 * c + 1][i] =
            merged(out[2 * c + 1][i], value[1][i], factors[i >> 1]);
      }
    }
    __syncthreads();  // values have been read
  }
#pragma unroll
  for (int j = 0; j < 2 * kColumns; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      store_pair(call, tile, 16 * group + g + 8 * side,
                 part * (kDim / 4) + 8 * j + 2 * q,
                 finished(out[j][2 * side], sum[side]),
                 finished(out[j][2 * side + 1], sum[side]));
    }
  }
}

template <int kDim>
__global__ __launch_bounds__(kThreads) void attention_split_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ __align__(16) float scores[kFewQueries][kScoreStride];
  constexpr int kTileBytes = kKeys * kDim * 2;
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x);
  const int64_t block = tile.first_block + blockIdx.z;
  if (block > tile.last_block) return;
  if (!is_older(call, tile, block)) wait_for_previous();
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kFewQueries * kDim * 2;
  const uint32_t values = keys + kTileBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;

  zero_tail<kDim>(call, shared + kFewQueries * kDim * 2, 2 * kTileBytes);
  if (call.part.head_dim != kDim) __syncthreads();
  const uint8_t* from = keys_of(call, tile, block);
  load_rows<kDim>(keys, from, call.part.head_dim);
  commit_copies();
  load_rows<kDim>(values, from + value_offset(call), call.part.head_dim);
  commit_copies();
  wait_for_previous();
  load_queries<kDim>(call, tile, kFewQueries, shared);
  wait_copies<1>();
  __syncthreads();
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  score_part<kDim>(call, block, queries, 0, keys, warp, visible, scores);
  wait_copies<0>();
  __syncthreads();
  const BlockWeights weights = weigh_shared(scores);
  float* partial = partial_of<kDim, kFewQueries>(call, blockIdx.z);
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
    weigh_values<kDim>(weights, values, column, value);
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

template <int kDim>
__global__ __launch_bounds__(kDim / 2) void attention_merge_kernel(
    const __grid_constant__ AttentionCall call) {
  merge_partials<kDim, kFewQueries>(call);
}

// A cluster a (tile, kv head); its thread block `rank` takes the blocks rank,
// rank + call.splits, ..., two of them loading ahead, keeps their partial
// results in its shared memory, and merges a part of the dimensions.
template <int kDim>
__global__ __launch_bounds__(kThreads) void attention_joint_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ __align__(16) float scores[kFewQueries][kScoreStride];
  constexpr int kTileBytes = kKeys * kDim * 2;
  let_next_start();
  cluster_arrive_started();
  const int parts = gridDim.z, rank = blockIdx.z;
  const Tile tile = find_tile(call, blockIdx.x);
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

  zero_tail<kDim>(call, shared + kFewQueries * kDim * 2, kv_bytes);
  if (call.part.head_dim != kDim) __syncthreads();
  const auto block_of = [&](int round) {
    return tile.first_block + rank + round * parts;
  };
  const auto load = [&](int round) {
    if (round < rounds) {
      const uint32_t keys = ring + round % 2 * (2 * kTileBytes);
      const uint8_t* from = keys_of(call, tile, block_of(round));
      load_rows<kDim>(keys, from, call.part.head_dim);
      load_rows<kDim>(keys + kTileBytes, from + value_offset(call),
                      call.part.head_dim);
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
  load_queries<kDim>(call, tile, kFewQueries, shared);
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  for (int round = 0; round < rounds; ++round) {
    const uint32_t keys = ring + round % 2 * (2 * kTileBytes);
    wait_copies<1>();
    __syncthreads();
    score_part<kDim>(call, block_of(round), queries, 0, keys, warp, visible,
                     scores);
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
      weigh_values<kDim>(weights, keys + kTileBytes, column, value);
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
    float largest = kMinusInfinity, sum = 0;
    float2 out = {0, 0};
#pragma unroll 4
    for (int block = 0; block < blocks; ++block) {
      const int at = block / parts * most_rows + row;
      const float2 value = cluster_load_pair(
          cluster_address(partials, block % parts) + 4 * (at * kDim + col));
      const float2 stat =
          cluster_load_pair(cluster_address(stats, block % parts) + 8 * at);
      const MergeFactors f = merge_factors(largest, stat.x);
      largest = f.largest;
      sum = merged(sum, stat.y, f);
      out.x = merged(out.x, value.x, f);
      out.y = merged(out.y, value.y, f);
    }
    store_pair(call, tile, row, col, finished(out.x, sum),
               finished(out.y, sum));
  }
  cluster_arrive();
  cluster_wait();  // the others have read this one's
}

int padded_dim(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
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

int64_t partial_floats(int head_dim, int queries) {
  return int64_t{queries} * (padded_dim(head_dim) + 2);
}

void launch_attention_wide(LaunchQueue& queue, const AttentionCall& call,
                           int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  switch (padded_dim(call.part.head_dim)) {
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
  switch (padded_dim(call.part.head_dim)) {
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
  return joint_bytes(call, padded_dim(call.part.head_dim)) <=
         device.shared_bytes - kJointStaticBytes;
}

void launch_attention_joint(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles) {
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(call.part.kv_heads));
  switch (padded_dim(call.part.head_dim)) {
    case 64:
      return launch_joint<64>(queue, call, grid);
    case 128:
      return launch_joint<128>(queue, call, grid);
    default:
      return launch_joint<256>(queue, call, grid);
  }
}

}  // namespace carat::cuda
