// Tiles of queries: where they, their keys and their results lie.
#ifndef CARAT_BACKEND_CUDA_ATTENTION_TILE_CUH_
#define CARAT_BACKEND_CUDA_ATTENTION_TILE_CUH_

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"

namespace carat::cuda {

__device__ inline Visible visible_to(const AttentionCall& call,
                                     int64_t position) {
  const bool is_windowed = call.window > 0 && position >= call.window;
  return {is_windowed ? position - call.window + 1 : 0, position + 1};
}

// The position, from the tile's first, of a row (below 64, groups up to 32). A
// division takes some 25 instructions, in a kernel that runs once through.
__device__ __forceinline__ int position_in_tile(const AttentionCall& call,
                                                int row) {
  return row * call.group_inverse >> 16;
}
__device__ __forceinline__ int head_in_tile(const AttentionCall& call,
                                            int row) {
  return row - position_in_tile(call, row) * call.group;
}

// A tile of queries of one kv head.
struct Tile {
  SequenceInfo sequence;
  int first;  // row within the sequence
  int rows;   // (position, head) rows
  int kv_head;
  int64_t first_block;  // absolute, of the first key any row sees
  int64_t last_block;

  __device__ inline int64_t position(const AttentionCall& call, int row) const {
    return sequence.first_position + first + position_in_tile(call, row);
  }
};

__device__ inline Tile find_tile(const AttentionCall& call, int index) {
  const QueryTile place = call.tiles[index];
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

// Whether no kernel that still runs writes the block.
__device__ inline bool is_older(const AttentionCall& call, const Tile& tile,
                                int64_t block) {
  return call.reads_ahead != 0 &&
         (block + 1) * kKeys <= tile.sequence.first_position;
}

// Keys of a block; values lie kv_heads heads behind.
__device__ inline const uint8_t* keys_of(const AttentionCall& call,
                                         const Tile& tile, int64_t block) {
  return tile.sequence.blocks[block - tile.sequence.first_block] +
         call.part.layer_offset +
         int64_t{tile.kv_head} * kKeys * call.part.head_dim * 2;
}
__device__ inline int64_t value_offset(const AttentionCall& call) {
  return int64_t{call.part.kv_heads} * kKeys * call.part.head_dim * 2;
}

__device__ inline void store_pair(const AttentionCall& call, const Tile& tile,
                                  int row, int col, float low, float high) {
  if (row >= tile.rows || col >= call.part.head_dim) return;
  const int64_t at =
      tile.sequence.first_row + tile.first + position_in_tile(call, row);
  const int head = tile.kv_head * call.group + head_in_tile(call, row);
  *reinterpret_cast<__nv_bfloat162*>(
      slab_at(call.out, at, head * call.part.head_dim + col)) =
      __floats2bfloat162_rn(low, high);
}

// Split: the partial results of a tile of up to kRows queries, kv head and
// block: values [kRows][kDim], then largest and sum [kRows] each.
template <int kDim, int kRows>
__device__ inline float* partial_of(const AttentionCall& call, int block) {
  constexpr int64_t kFloats = kRows * (kDim + 2);
  return call.partials +
         ((int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * call.splits +
          block) *
             kFloats;
}

// Merges them in ascending order: one thread block a (tile, kv head, row); a
// thread two dimensions.
template <int kDim, int kRows>
__device__ inline void merge_partials(const AttentionCall& call) {
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x);
  const int row = blockIdx.z;
  if (row >= tile.rows) return;
  wait_for_previous();
  const int blocks = static_cast<int>(tile.last_block - tile.first_block) + 1;
  const int col = threadIdx.x * 2;
  float largest = kMinusInfinity, sum = 0;
  float2 out = {0, 0};
#pragma unroll 4
  for (int block = 0; block < blocks; ++block) {
    const float* partial = partial_of<kDim, kRows>(call, block);
    const float2 value =
        *reinterpret_cast<const float2*>(partial + row * kDim + col);
    const MergeFactors f = merge_factors(largest, partial[kRows * kDim + row]);
    largest = f.largest;
    sum = merged(sum, partial[kRows * (kDim + 1) + row], f);
    out.x = merged(out.x, value.x, f);
    out.y = merged(out.y, value.y, f);
  }
  store_pair(call, tile, row, col, finished(out.x, sum), finished(out.y, sum));
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_TILE_CUH_
