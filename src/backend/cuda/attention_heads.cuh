// What heads.cu does, done by the thread blocks of attention_joint.cu for their
// own queries, keys and values.
#ifndef CARAT_BACKEND_CUDA_ATTENTION_HEADS_CUH_
#define CARAT_BACKEND_CUDA_ATTENTION_HEADS_CUH_

#include <cstdint>

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/heads.cuh"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {

#if __CUDA_ARCH__ >= 900

// The blocks of a thread block, and where they are loaded to.
template <int kDim>
struct Blocks {
  const AttentionCall& call;
  const Tile& tile;
  int rank;
  int parts;
  int rounds;
  uint32_t barriers;
  uint32_t tiles;

  __device__ int64_t at(int round) const {
    return tile.first_block + rank + round * parts;
  }
  __device__ uint32_t keys(int round) const {
    return tiles + round % call.groups * (2 * kBlockBytes<kDim>);
  }
  __device__ uint32_t barrier(int round, bool is_value) const {
    return barriers + round % call.groups * 16 + is_value * 8;
  }
  __device__ int parity(int round) const { return round / call.groups & 1; }

  // One thread of a group.
  __device__ void load(int round) const {
    const uint8_t* from = keys_of<kDim>(call, tile, at(round));
    for (int is_value = 0; is_value < 2; ++is_value) {
      barrier_expect(barrier(round, is_value), kBlockBytes<kDim>);
      bulk_copy(keys(round) + is_value * kBlockBytes<kDim>,
                from + is_value * value_offset<kDim>(call), kBlockBytes<kDim>,
                barrier(round, is_value));
    }
  }
};

// A warp's work for `heads`: a row's query, or a new position's key or value.
// Made before the kernel before has ended.
template <int kDim>
class HeadWork {
 public:
  // Works are the tile's queries, then keys and values by position.
  __device__ __forceinline__ HeadWork(const Blocks<kDim>& blocks, int work)
      : blocks_(blocks), col_(threadIdx.x % 32 * 4) {
    const AttentionCall& call = blocks.call;
    const HeadsCall& heads = call.heads;
    const Tile& tile = blocks.tile;
    const int head_dim = call.part.head_dim;
    half_ = head_dim / 2;
    inverse_dim_ = __frcp_rn(static_cast<float>(head_dim));
    eps_ = heads.eps;
    is_query_ = work < tile.rows;
    const float* norm = nullptr;
    int64_t row = 0;
    if (is_query_) {
      row_ = work;
      row = tile.sequence.first_row + tile.first + position_in_tile(call, work);
      const int head = tile.kv_head * call.group + head_in_tile(call, work);
      x_ = call.q.data + row * call.q.stride + head * head_dim;
      norm = heads.q_norm;
    } else {
      const int index = (work - tile.rows) / 2;
      is_value_ = (work - tile.rows) % 2 != 0;
      const int64_t at = tile.sequence.first_position + index;
      const int block = static_cast<int>(at / kKeys - tile.first_block);
      round_ = block / blocks.parts;
      if (block - round_ * blocks.parts != blocks.rank) return;
      row_ = static_cast<int>(at % kKeys);
      panels_ =
          const_cast<uint8_t*>(keys_of<kDim>(call, tile, blocks.at(round_))) +
          is_value_ * value_offset<kDim>(call);
      row = tile.sequence.first_row + index;
      const Rows& from = is_value_ ? heads.v : heads.k;
      x_ = from.data + row * from.stride + tile.kv_head * head_dim;
      norm = is_value_ ? nullptr : heads.k_norm;
    }
    angles_ = heads.angles.data + row * heads.angles.stride;
    is_normed_ = norm != nullptr;
    if (is_normed_ && has_columns()) norm_ = load_halves(norm, half_, col_);
  }

  // Queries to shared memory, keys and values to the cache, and into the block
  // if that is loaded already.
  __device__ __forceinline__ void run(uint8_t* shared, uint8_t* queries) const {
    if (x_ == nullptr) return;
    HalfPair x = {}, angles = {};
    if (has_columns()) {
      x = load_halves(x_, half_, col_);
      if (!is_value_) angles = load_halves(angles_, half_, col_);
    }
    if (is_normed_) scale_head(x, norm_, inverse_dim_, eps_);
    if (!is_value_) rotate(x, angles);
    is_query_ ? keep_query(x, queries) : append(x, shared);
  }

 private:
  __device__ __forceinline__ bool has_columns() const { return col_ < half_; }

  __device__ __forceinline__ void keep_query(HalfPair& x,
                                             uint8_t* queries) const {
    if (!has_columns()) return;
    const float scale = blocks_.call.scale;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x.a[i] = __fmul_rn(x.a[i], scale);
      x.b[i] = __fmul_rn(x.b[i], scale);
    }
    const auto place = [&](int c) {
      return queries + panel_address<kFewQueries>(0, row_, c / 8) + c % 8 * 2;
    };
    *reinterpret_cast<uint2*>(place(col_)) = to_halves(x.a);
    *reinterpret_cast<uint2*>(place(half_ + col_)) = to_halves(x.b);
  }

  __device__ __forceinline__ void append(const HalfPair& x,
                                         uint8_t* shared) const {
    const int places[2] = {place_in_panels(row_, col_),
                           place_in_panels(row_, half_ + col_)};
    const uint2 values[2] = {to_cached(x.a), to_cached(x.b)};
    if (has_columns()) {
      *reinterpret_cast<uint2*>(panels_ + places[0]) = values[0];
      *reinterpret_cast<uint2*>(panels_ + places[1]) = values[1];
    }
    if (round_ >= blocks_.call.groups) {
      show_to_copies();  // it is loaded later
      return;
    }
    barrier_wait(blocks_.barrier(round_, is_value_), 0);
    if (has_columns()) {
      uint8_t* to = shared + (blocks_.keys(round_) - shared_address(shared)) +
                    is_value_ * kBlockBytes<kDim>;
      *reinterpret_cast<uint2*>(to + places[0]) = values[0];
      *reinterpret_cast<uint2*>(to + places[1]) = values[1];
    }
  }

  const Blocks<kDim>& blocks_;
  int col_;
  int half_;
  float inverse_dim_;
  float eps_;
  bool is_query_;
  bool is_value_ = false;
  bool is_normed_ = false;
  int row_;                    // of the tile, or the position in its block
  int round_;                  // of that block
  uint8_t* panels_ = nullptr;  // of that block, in the cache
  const float* x_ = nullptr;   // null: another thread block's
  const float* angles_ = nullptr;
  HalfPair norm_ = {};
};

// Queries to shared memory, and new keys and values where they belong, once the
// kernel before has ended.
template <int kDim>
__device__ void do_heads(const Blocks<kDim>& blocks, uint8_t* shared,
                         uint8_t* queries) {
  const Tile& tile = blocks.tile;
  for (int i = threadIdx.x * 16; i < kFewQueries * kDim * 2;
       i += blockDim.x * 16) {
    *reinterpret_cast<uint4*>(queries + i) = make_uint4(0, 0, 0, 0);
  }
  // Each piece of code once: it is run once a layer, from a cold cache.
  const int works = tile.rows + 2 * tile.sequence.rows;
  const int step = blockDim.x / 32;
  bool is_first = true;
#pragma unroll 1
  for (int work = threadIdx.x / 32; is_first || work < works; work += step) {
    const HeadWork<kDim> own(blocks, min(work, works - 1));
    if (is_first) {
      __syncthreads();  // barriers and zeros are there
      wait_for_previous();
    }
    is_first = false;
    if (work < works) own.run(shared, queries);
  }
}

#endif  // __CUDA_ARCH__ >= 900

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_ATTENTION_HEADS_CUH_
