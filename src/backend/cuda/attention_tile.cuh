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

// The position, from the tile's first, of a row (below 128, groups up to 32). A
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

__device__ inline Tile find_tile(const AttentionCall& call, int index,
                                 int kv_head) {
  const QueryTile place = call.tiles[index];
  Tile tile;
  tile.sequence = call.sequences[place.sequence];
  tile.first = place.first;
  const int positions = min(call.tile_rows, tile.sequence.rows - place.first);
  tile.rows = positions * call.group;
  tile.kv_head = kv_head;
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
template <int kDim>
__device__ inline const uint8_t* keys_of(const AttentionCall& call,
                                         const Tile& tile, int64_t block) {
  return tile.sequence.blocks[block - tile.sequence.first_block] +
         call.part.layer_offset + int64_t{tile.kv_head} * kBlockBytes<kDim>;
}
template <int kDim>
__device__ inline int64_t value_offset(const AttentionCall& call) {
  return int64_t{call.part.kv_heads} * kBlockBytes<kDim>;
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

// Split: the partial results of a tile of up to kFewQueries, kv head and block:
// values [kFewQueries][kDim], then largest and sum [kFewQueries] each.
template <int kDim>
__device__ inline float* partial_of(const AttentionCall& call, int block) {
  constexpr int64_t kFloats = kFewQueries * (kDim + 2);
  return call.partials +
         ((int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * call.splits +
          block) *
             kFloats;
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_TILE_CUH_
