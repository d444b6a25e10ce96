// Causal attention over the block cache, full or windowed, grouped heads.
//
// The rows of a tile are (position, query head of the group): positions times
// `group`. Wide: 64 rows a thread block, a warp for 16, blocks of keys one
// after the other, the next one's keys loading under this one's work. Split: up
// to 16 rows, a thread block for every block of keys, four warps sharing keys
// and dimensions, then one merge. Both give the same bits
// (attention_block.cuh).
#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/slab.cuh"

namespace carat::cuda {
namespace {

constexpr int kThreads = 128;

__device__ Visible visible_to(const AttentionCall& call, int64_t position) {
  const bool is_windowed = call.window > 0 && position >= call.window;
  return {is_windowed ? position - call.window + 1 : 0, position + 1};
}

// A tile of queries of one kv head.
struct Tile {
  SequenceInfo sequence;
  int first;  // row within the sequence
  int rows;   // (position, head) rows
  int kv_head;
  int64_t first_block;  // absolute, of the first key any row sees
  int64_t last_block;

  __device__ int64_t position(const AttentionCall& call, int row) const {
    return sequence.first_position + first + row / call.group;
  }
};

__device__ Tile find_tile(const AttentionCall& call) {
  const QueryTile place = call.tiles[blockIdx.x];
  Tile tile;
  tile.sequence = call.sequences[place.sequence];
  tile.first = place.first;
  const int positions = min(call.tile_rows, tile.sequence.rows - place.first);
  tile.rows = positions * call.group;
  tile.kv_head = blockIdx.y;
  const int64_t first = tile.sequence.first_position + place.first;
  tile.first_block = visible_to(call, first).begin / kKeys;
  tile.last_block = (first + positions - 1) / kKeys;
  return tile;
}

// Keys of a block; values lie kv_heads heads behind.
__device__ const uint8_t* keys_of(const AttentionCall& call, const Tile& tile,
                                  int64_t block) {
  return tile.sequence.blocks[block - tile.sequence.first_block] +
         call.part.layer_offset +
         int64_t{tile.kv_head} * kKeys * call.part.head_dim * 2;
}
__device__ int64_t value_offset(const AttentionCall& call) {
  return int64_t{call.part.kv_heads} * kKeys * call.part.head_dim * 2;
}

// Scaled queries as f16; rows and columns that do not exist are zeros.
template <int kDim>
__device__ void load_queries(const AttentionCall& call, const Tile& tile,
                             int count, uint8_t* shared) {
  for (int i = threadIdx.x; i < count * (kDim / 2); i += blockDim.x) {
    const int row = i / (kDim / 2), col = i % (kDim / 2) * 2;
    float2 pair = {0, 0};
    if (row < tile.rows && col < call.part.head_dim) {
      const int64_t at =
          tile.sequence.first_row + tile.first + row / call.group;
      const int head = tile.kv_head * call.group + row % call.group;
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

__device__ void store_pair(const AttentionCall& call, const Tile& tile, int row,
                           int col, float low, float high) {
  if (row >= tile.rows || col >= call.part.head_dim) return;
  const int64_t at = tile.sequence.first_row + tile.first + row / call.group;
  const int head = tile.kv_head * call.group + row % call.group;
  *reinterpret_cast<__nv_bfloat162*>(
      slab_at(call.out, at, head * call.part.head_dim + col)) =
      __floats2bfloat162_rn(low, high);
}

template <int kDim>
__global__ __launch_bounds__(kThreads, 2) void attention_wide_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  constexpr int kTileBytes = kKeys * kDim * 2;
  const Tile tile = find_tile(call);
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kWideQueries * kDim * 2;
  const uint32_t values = keys + kTileBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;

  zero_tail<kDim>(call, shared + kWideQueries * kDim * 2, 2 * kTileBytes);
  load_queries<kDim>(call, tile, kWideQueries, shared);
  __syncthreads();

  float out[kDim / 8][4], largest[2], sum[2];
#pragma unroll
  for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[j][i] = 0;
  }
  Visible visible[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    largest[side] = kMinusInfinity;
    sum[side] = 0;
    visible[side] =
        visible_to(call, tile.position(call, 16 * warp + g + 8 * side));
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
    float score[8][4];
    score_keys<kDim, 8>(queries, 16 * warp, keys, 0, score);
    __syncthreads();  // keys have been read
    if (block < tile.last_block) load_keys(block + 1);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t key = block * kKeys + 8 * j + 2 * q + (i & 1);
        const Visible& range = visible[i >> 1];
        score[j][i] = finish_score(score[j][i], call.softcap,
                                   key >= range.begin && key < range.end);
      }
    }
    const BlockWeights weights = weigh(score);
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
    for (int column = 0; column < kDim / 16; ++column) {
      float value[2][4];
      weigh_values<kDim>(weights, values, column, value);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[2 * column][i] =
            merged(out[2 * column][i], value[0][i], factors[i >> 1]);
        out[2 * column + 1][i] =
            merged(out[2 * column + 1][i], value[1][i], factors[i >> 1]);
      }
    }
    __syncthreads();  // values have been read
  }
#pragma unroll
  for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      store_pair(call, tile, 16 * warp + g + 8 * side, 8 * j + 2 * q,
                 finished(out[j][2 * side], sum[side]),
                 finished(out[j][2 * side + 1], sum[side]));
    }
  }
}

// Partials of (tile, kv head, block): values [16][kDim], then largest and sum
// [16] each.
template <int kDim>
__device__ float* partial_of(const AttentionCall& call, int block) {
  constexpr int64_t kFloats = kFewQueries * (kDim + 2);
  return call.partials +
         ((int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * call.splits +
          block) *
             kFloats;
}

template <int kDim>
__global__ __launch_bounds__(kThreads) void attention_split_kernel(
    const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ float scores[kFewQueries][kKeys + 2];
  constexpr int kTileBytes = kKeys * kDim * 2;
  const Tile tile = find_tile(call);
  const int64_t block = tile.first_block + blockIdx.z;
  if (block > tile.last_block) return;
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
  load_queries<kDim>(call, tile, kFewQueries, shared);
  wait_copies<1>();
  __syncthreads();
  float own[2][4];  // the keys [16 warp, + 16)
  score_keys<kDim, 2>(queries, 0, keys, 2 * warp, own);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = g + 8 * (i >> 1),
                key = 16 * warp + 8 * j + 2 * q + (i & 1);
      const Visible range = visible_to(call, tile.position(call, row));
      const int64_t at = block * kKeys + key;
      scores[row][key] = finish_score(own[j][i], call.softcap,
                                      at >= range.begin && at < range.end);
    }
  }
  wait_copies<0>();
  __syncthreads();
  float score[8][4];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      score[j][i] = scores[g + 8 * (i >> 1)][8 * j + 2 * q + (i & 1)];
    }
  }
  const BlockWeights weights = weigh(score);
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

// One thread block a (tile, kv head, row); a thread two dimensions.
template <int kDim>
__global__ __launch_bounds__(kDim / 2) void attention_merge_kernel(
    const __grid_constant__ AttentionCall call) {
  const Tile tile = find_tile(call);
  const int row = blockIdx.z;
  if (row >= tile.rows) return;
  const int blocks = static_cast<int>(tile.last_block - tile.first_block) + 1;
  const int col = threadIdx.x * 2;
  float largest = kMinusInfinity, sum = 0;
  float2 out = {0, 0};
#pragma unroll 4
  for (int block = 0; block < blocks; ++block) {
    const float* partial = partial_of<kDim>(call, block);
    const float2 value =
        *reinterpret_cast<const float2*>(partial + row * kDim + col);
    const MergeFactors f =
        merge_factors(largest, partial[kFewQueries * kDim + row]);
    largest = f.largest;
    sum = merged(sum, partial[kFewQueries * (kDim + 1) + row], f);
    out.x = merged(out.x, value.x, f);
    out.y = merged(out.y, value.y, f);
  }
  store_pair(call, tile, row, col, finished(out.x, sum), finished(out.y, sum));
}

int padded_dim(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

template <int kDim>
void launch_wide(LaunchQueue& queue, const AttentionCall& call, dim3 grid) {
  queue.launch(attention_wide_kernel<kDim>,
               {grid, kThreads, (kWideQueries + 2 * kKeys) * kDim * 2}, call);
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

}  // namespace

bool attention_supports(int head_dim) {
  return head_dim > 0 && head_dim <= 256 && head_dim % 8 == 0;
}

int64_t partial_floats(int head_dim) {
  return int64_t{kFewQueries} * (padded_dim(head_dim) + 2);
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

}  // namespace carat::cuda
