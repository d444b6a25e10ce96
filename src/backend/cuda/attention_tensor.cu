// Attention of many rows on Hopper: as attention_wide_kernel, 64 rows a thread
// block of one warpgroup, products by wgmma (the same bits; see
// docs/numerics-cuda.md). A warp owns 16 rows with all their scores and values.
//
// Split: where tiles are few, a thread block for every block of keys, then one
// merge.
//
// Tiles of 64 rows lie in shared memory as panels of 64 columns: rows of 128
// bytes, swizzled. Values are used as they lie, keys by columns.
#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_WGMMA_DEVICE 1
#endif

namespace carat::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPanelBytes = 64 * 128;

#ifdef CARAT_WGMMA_DEVICE

__device__ __forceinline__ uint32_t panel_address(uint32_t base, int row,
                                                  int chunk) {
  return base + chunk / 8 * kPanelBytes + row * 128 +
         (((chunk ^ row) & 7) << 4);
}

template <int kDim>
__device__ __forceinline__ void load_panels(uint32_t to, const uint8_t* from,
                                            int head_dim) {
  constexpr int kChunks = kDim / 8, kRows = kThreads / kChunks;
  const int chunk = threadIdx.x % kChunks;
  if (chunk < head_dim / 8) {
#pragma unroll 8
    for (int row = threadIdx.x / kChunks; row < kKeys; row += kRows) {
      copy_async(panel_address(to, row, chunk),
                 from + (int64_t{row} * head_dim + chunk * 8) * 2);
    }
  }
  commit_copies();
}

// Scaled queries as f16; rows and columns that do not exist are zeros.
template <int kDim>
__device__ __forceinline__ void load_query_panels(const AttentionCall& call,
                                                  const Tile& tile,
                                                  uint8_t* shared) {
  constexpr int kQuads = kDim / 4, kRows = kThreads / kQuads;
  const int col = threadIdx.x % kQuads * 4;
#pragma unroll 16
  for (int row = threadIdx.x / kQuads; row < kTensorQueries; row += kRows) {
    float4 v = {0, 0, 0, 0};
    if (row < tile.rows && col < call.part.head_dim) {
      const int64_t at =
          tile.sequence.first_row + tile.first + position_in_tile(call, row);
      const int head = tile.kv_head * call.group + head_in_tile(call, row);
      v = *reinterpret_cast<const float4*>(call.q.data + at * call.q.stride +
                                           head * call.part.head_dim + col);
    }
    const uint2 packed = {
        half_pair(__fmul_rn(v.x, call.scale), __fmul_rn(v.y, call.scale)),
        half_pair(__fmul_rn(v.z, call.scale), __fmul_rn(v.w, call.scale))};
    *reinterpret_cast<uint2*>(shared + panel_address(0, row, col / 8) +
                              col % 8 * 2) = packed;
  }
}

// Softcap, and -inf for keys that a row does not see.
__device__ __forceinline__ void finish_scores(const AttentionCall& call,
                                              int64_t block,
                                              const Visible (&visible)[2],
                                              float (&score)[8][4]) {
  const int q = threadIdx.x % 4;
  if (call.softcap > 0) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[j][i] = finish_score(score[j][i], call.softcap, true);
      }
    }
  }
  int begin[2], end[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int64_t first = block * kKeys;
    begin[side] =
        static_cast<int>(max(visible[side].begin - first, int64_t{0}));
    end[side] =
        static_cast<int>(min(visible[side].end - first, int64_t{kKeys}));
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 8 * j + 2 * q + (i & 1), side = i >> 1;
      if (key < begin[side] || key >= end[side]) score[j][i] = kMinusInfinity;
    }
  }
}

// Split: what a block of keys gives; columns from `first` on.
template <int kDim>
__device__ __forceinline__ void store_partial(const AttentionCall& call,
                                              const Tile& tile, int first,
                                              const float (&value)[32]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* partial = partial_of<kDim, kTensorQueries>(call, blockIdx.z);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int row = 16 * warp + lane / 4 + 8 * side;
      if (row >= tile.rows) continue;
      *reinterpret_cast<float2*>(partial + row * kDim + first + 8 * j +
                                 lane % 4 * 2) = {value[4 * j + 2 * side],
                                                  value[4 * j + 2 * side + 1]};
    }
  }
}

template <int kDim>
__device__ __forceinline__ void store_weights(const AttentionCall& call,
                                              const Tile& tile,
                                              const BlockWeights& weights) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* partial = partial_of<kDim, kTensorQueries>(call, blockIdx.z);
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int row = 16 * warp + lane / 4 + 8 * side;
    if (lane % 4 == 0 && row < tile.rows) {
      partial[kTensorQueries * kDim + row] = weights.largest[side];
      partial[kTensorQueries * (kDim + 1) + row] = weights.sum[side];
    }
  }
}

#endif  // CARAT_WGMMA_DEVICE

template <int kDim, bool kSplit>
__global__ __launch_bounds__(kThreads, 2) void attention_tensor_kernel(
    const __grid_constant__ AttentionCall call) {
#ifdef CARAT_WGMMA_DEVICE
  extern __shared__ __align__(1024) uint8_t shared[];
  constexpr int kPanels = kDim / 64;
  constexpr int kTileBytes = kPanels * kPanelBytes;
  let_next_start();
  const Tile tile = find_tile(call, blockIdx.x);
  const int64_t first_block =
      kSplit ? tile.first_block + blockIdx.z : tile.first_block;
  const int64_t last_block = kSplit ? first_block : tile.last_block;
  if (kSplit && first_block > tile.last_block) return;
  wait_for_previous();
  const uint32_t queries = shared_address(shared);
  const uint32_t keys = queries + kTileBytes;
  const uint32_t values = keys + kTileBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;
  if (call.part.head_dim != kDim) {
    for (int i = threadIdx.x; i < 2 * kTileBytes / 16; i += kThreads) {
      reinterpret_cast<uint4*>(shared + kTileBytes)[i] = make_uint4(0, 0, 0, 0);
    }
    __syncthreads();
  }
  const uint8_t* present_keys = keys_of(call, tile, first_block);
  load_panels<kDim>(keys, present_keys, call.part.head_dim);
  load_query_panels<kDim>(call, tile, shared);

  float out[kPanels][32], largest[2], sum[2];
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
#pragma unroll
    for (int i = 0; i < 32; ++i) out[p][i] = 0;
  }
  Visible visible[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    largest[side] = kMinusInfinity;
    sum[side] = 0;
    visible[side] =
        visible_to(call, tile.position(call, 16 * warp + g + 8 * side));
  }
  const uint64_t query_panels = wgmma_descriptor(queries);
  const uint64_t key_panels = wgmma_descriptor(keys);
  const uint64_t value_panels = wgmma_descriptor_transposed(values);

#pragma unroll 1
  for (int64_t block = first_block; block <= last_block; ++block) {
    // The next block's place ahead: its load would hold everything up.
    const uint8_t* next_keys =
        block < last_block ? keys_of(call, tile, block + 1) : nullptr;
    load_panels<kDim>(values, present_keys + value_offset(call),
                      call.part.head_dim);
    wait_copies<1>();
    show_to_wgmma();
    __syncthreads();
    BlockWeights weights;
    {
      float raw[32];
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
        const uint64_t at = step / 4 * (kPanelBytes / 16) + step % 4 * 2;
        wgmma_f16(raw, query_panels + at, key_panels + at, step > 0);
      }
      wgmma_commit();
      wgmma_wait<0>();
      pin(raw);
      __syncthreads();  // the keys have been read
      if (next_keys != nullptr) {
        load_panels<kDim>(keys, next_keys, call.part.head_dim);
      }
      present_keys = next_keys;
      float score[8][4];
#pragma unroll
      for (int i = 0; i < 32; ++i) score[i / 4][i % 4] = raw[i];
      finish_scores(call, block, visible, score);
      weights = weigh(score);
    }
    MergeFactors factors[2];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      factors[side] = merge_factors(largest[side], weights.largest[side]);
      largest[side] = factors[side].largest;
      sum[side] = merged(sum[side], weights.sum[side], factors[side]);
    }
    if (block < last_block) {
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    show_to_wgmma();
    __syncthreads();
    // A panel of values is multiplied while the one before it is merged.
    float value[2][32];
    const auto start = [&](int panel) {
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kKeys / 16; ++step) {
        wgmma_f16_transposed(
            value[panel % 2], weights.p[step],
            value_panels + panel * (kPanelBytes / 16) + step * 128, step > 0);
      }
      wgmma_commit();
    };
    if constexpr (kSplit) store_weights<kDim>(call, tile, weights);
    pin(weights.p);
    start(0);
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      if (p + 1 < kPanels) {
        start(p + 1);
        wgmma_wait<1>();
      } else {
        wgmma_wait<0>();
      }
      pin(value[p % 2]);
      if constexpr (kSplit) {
        store_partial<kDim>(call, tile, 64 * p, value[p % 2]);
      } else {
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          out[p][i] = merged(out[p][i], value[p % 2][i], factors[i % 4 / 2]);
        }
      }
    }
    __syncthreads();  // the values have been read
  }
  if constexpr (!kSplit) {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          store_pair(call, tile, 16 * warp + g + 8 * side,
                     64 * p + 8 * j + 2 * q,
                     finished(out[p][4 * j + 2 * side], sum[side]),
                     finished(out[p][4 * j + 2 * side + 1], sum[side]));
        }
      }
    }
  }
#endif
}

template <int kDim>
__global__ __launch_bounds__(kDim / 2) void attention_tensor_merge_kernel(
    const __grid_constant__ AttentionCall call) {
  merge_partials<kDim, kTensorQueries>(call);
}

template <int kDim, bool kSplit>
void launch(LaunchQueue& queue, const AttentionCall& call, int64_t tiles) {
  dim3 grid(static_cast<unsigned>(tiles),
            static_cast<unsigned>(call.part.kv_heads));
  if (kSplit) grid.z = static_cast<unsigned>(call.splits);
  queue.launch(attention_tensor_kernel<kDim, kSplit>,
               {grid, kThreads, 3 * (kDim / 64) * kPanelBytes}, call);
  if (!kSplit) return;
  grid.z = static_cast<unsigned>(call.tile_rows * call.group);
  queue.launch(attention_tensor_merge_kernel<kDim>, {grid, kDim / 2, 0}, call);
}

}  // namespace

bool tensor_attention_supports(const DeviceTraits& device, int head_dim) {
  return device.has_wgmma && head_dim > 64 && head_dim <= 256 &&
         head_dim % 8 == 0;
}

void launch_attention_tensor(LaunchQueue& queue, const AttentionCall& call,
                             int64_t tiles) {
  call.part.head_dim > 128 ? launch<256, false>(queue, call, tiles)
                           : launch<128, false>(queue, call, tiles);
}

bool tensor_split_pays(const DeviceTraits& device, int64_t tiles,
                       int64_t most_blocks, int64_t blocks) {
  // Microseconds, as measured on an H100: a block of keys in a row of them; one
  // on its own; its partial results, written and read; starting the merge.
  constexpr double kInTurn = 4, kAlone = 6, kPartial = 0.035, kMerge = 3;
  const int64_t at_once = 2 * device.processors;
  const auto rounds = [&](int64_t count) {
    return static_cast<double>((count + at_once - 1) / at_once);
  };
  const double in_turn =
      rounds(tiles) * static_cast<double>(most_blocks) * kInTurn;
  const double split =
      rounds(blocks) * kAlone + static_cast<double>(blocks) * kPartial + kMerge;
  return split < 0.9 * in_turn;
}

void launch_attention_tensor_split(LaunchQueue& queue,
                                   const AttentionCall& call, int64_t tiles) {
  call.part.head_dim > 128 ? launch<256, true>(queue, call, tiles)
                           : launch<128, true>(queue, call, tiles);
}

}  // namespace carat::cuda
