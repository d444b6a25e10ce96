// Attention of few rows on Hopper, and, if the call has it, what heads.cu does
// for these rows: bound by latency, so one kernel does all.
//
// A cluster of thread blocks works on a (tile of up to 16 rows, kv head).
// Thread block `rank` takes the blocks of keys rank, rank + parts, ...: groups
// of four warps one each, loaded by bulk copies before the kernel before has
// ended where that is allowed. Partial results go to the shared memory of the
// thread block that merges their columns. New keys and values go to the cache
// and into the blocks already loaded.
#include <algorithm>

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/attention_warps.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/cluster.cuh"
#include "backend/cuda/heads.cuh"
#include "backend/cuda/overlap.cuh"

namespace carat::cuda {
namespace {

constexpr int kMostParts = 8;   // thread blocks of a cluster
constexpr int kMostGroups = 3;  // of four warps
constexpr int kBarrierBytes = 128;

// Shared memory, in bytes: each group's barriers (keys, values), scores and
// block; of all blocks this thread block's columns [block][row][column], and
// {largest, sum} [block][row].
struct JointLayout {
  int scores, queries, tiles, partials, stats, bytes;
  __host__ __device__ JointLayout(const AttentionCall& call, int dim) {
    const int rows = call.tile_rows * call.group;
    const int blocks = call.rounds * call.splits;
    scores = kBarrierBytes;
    queries = scores + call.groups * kFewQueries * kScoreStride * 4;
    tiles = queries + kFewQueries * dim * 2;
    partials = tiles + call.groups * 2 * kKeys * dim * 2;
    stats = partials + blocks * rows * (dim / call.splits) * 4;
    bytes = stats + blocks * rows * 8;
  }
};

#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ void group_sync(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(kWarpsThreads)
               : "memory");
}

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

// Norms, rotates and scales a row's query into `queries`: one warp.
__device__ __forceinline__ void finish_query(const AttentionCall& call,
                                             const Tile& tile, int row,
                                             uint8_t* queries) {
  const HeadsCall& heads = call.heads;
  const int head_dim = call.part.head_dim, half = head_dim / 2;
  const int col = threadIdx.x % 32 * 4;
  const bool has_columns = col < half;
  const int64_t at =
      tile.sequence.first_row + tile.first + position_in_tile(call, row);
  const int head = tile.kv_head * call.group + head_in_tile(call, row);
  HalfPair x = {}, angles = {}, norm = {};
  if (has_columns) {
    x = load_halves(call.q.data + at * call.q.stride + head * head_dim, half,
                    col);
    angles =
        load_halves(heads.angles.data + at * heads.angles.stride, half, col);
    if (heads.q_norm != nullptr) norm = load_halves(heads.q_norm, half, col);
  }
  if (heads.q_norm != nullptr) scale_head(x, norm, head_dim, heads.eps);
  rotate(x, angles);
  if (!has_columns) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x.a[i] = __fmul_rn(x.a[i], call.scale);
    x.b[i] = __fmul_rn(x.b[i], call.scale);
  }
  const auto place = [&](int c) {
    return queries + panel_address<kFewQueries>(0, row, c / 8) + c % 8 * 2;
  };
  *reinterpret_cast<uint2*>(place(col)) = to_halves(x.a);
  *reinterpret_cast<uint2*>(place(half + col)) = to_halves(x.b);
}

// A new position's key or value to the cache, and into the block if that is
// loaded already: one warp.
template <int kDim>
__device__ __forceinline__ void append(const Blocks<kDim>& blocks, int index,
                                       bool is_value, uint8_t* shared) {
  const AttentionCall& call = blocks.call;
  const Tile& tile = blocks.tile;
  const HeadsCall& heads = call.heads;
  const int64_t at = tile.sequence.first_position + index;
  const int block = static_cast<int>(at / kKeys - tile.first_block);
  if (block % blocks.parts != blocks.rank) return;
  const int round = block / blocks.parts;
  const int head_dim = call.part.head_dim, half = head_dim / 2;
  const int col = threadIdx.x % 32 * 4;
  const bool has_columns = col < half;
  const bool is_normed = !is_value && heads.k_norm != nullptr;
  const int64_t row = tile.sequence.first_row + index;
  const Rows& from = is_value ? heads.v : heads.k;
  HalfPair x = {}, angles = {}, norm = {};
  if (has_columns) {
    x = load_halves(from.data + row * from.stride + tile.kv_head * head_dim,
                    half, col);
    if (!is_value) {
      angles =
          load_halves(heads.angles.data + row * heads.angles.stride, half, col);
    }
    if (is_normed) norm = load_halves(heads.k_norm, half, col);
  }
  if (is_normed) scale_head(x, norm, head_dim, heads.eps);
  if (!is_value) rotate(x, angles);
  auto* panels =
      const_cast<uint8_t*>(keys_of<kDim>(call, tile, blocks.at(round))) +
      is_value * value_offset<kDim>(call);
  const int position = static_cast<int>(at % kKeys);
  const int places[2] = {place_in_panels(position, col),
                         place_in_panels(position, half + col)};
  const uint2 values[2] = {to_cached(x.a), to_cached(x.b)};
  if (has_columns) {
    *reinterpret_cast<uint2*>(panels + places[0]) = values[0];
    *reinterpret_cast<uint2*>(panels + places[1]) = values[1];
  }
  if (round >= call.groups) {
    show_to_copies();  // it is loaded later
    return;
  }
  barrier_wait(blocks.barrier(round, is_value), 0);
  if (has_columns) {
    uint8_t* to = shared + (blocks.keys(round) - shared_address(shared)) +
                  is_value * kBlockBytes<kDim>;
    *reinterpret_cast<uint2*>(to + places[0]) = values[0];
    *reinterpret_cast<uint2*>(to + places[1]) = values[1];
  }
}

// Queries to shared memory, and new keys and values where they belong.
template <int kDim>
__device__ void do_heads(const Blocks<kDim>& blocks, uint8_t* shared,
                         uint8_t* queries) {
  const Tile& tile = blocks.tile;
  for (int i = threadIdx.x * 16; i < kFewQueries * kDim * 2;
       i += blockDim.x * 16) {
    *reinterpret_cast<uint4*>(queries + i) = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  const int works = tile.rows + 2 * tile.sequence.rows;
  for (int work = threadIdx.x / 32; work < works; work += blockDim.x / 32) {
    if (work < tile.rows) {
      finish_query(blocks.call, tile, work, queries);
    } else {
      const int index = (work - tile.rows) / 2;
      append(blocks, index, (work - tile.rows) % 2 != 0, shared);
    }
  }
}

// A block's result to those that merge it.
template <int kDim>
__device__ __forceinline__ void send_block(
    const AttentionCall& call, const Tile& tile, const JointLayout& layout,
    uint32_t base, int block, const BlockWeights& weights, uint32_t values) {
  const int parts = call.splits, columns = kDim / parts;
  const int most_rows = call.tile_rows * call.group;
  const int warp = threadIdx.x % kWarpsThreads / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;
  if (warp == 0) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int row = g + 8 * side;
      if (row >= tile.rows) continue;
      for (int to = q; to < parts; to += 4) {
        cluster_store_pair(cluster_address(base + layout.stats, to) +
                               8 * (block * most_rows + row),
                           weights.largest[side], weights.sum[side]);
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kDim / 64; ++c) {
    const int column = warp * (kDim / 64) + c;
    float value[2][4];
    weigh_values(weights, values, column, value);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int first = 16 * column + 8 * half;
      const uint32_t to = cluster_address(
          base + layout.partials, parts == kMostParts
                                      ? first / (kDim / kMostParts)
                                      : first / (kDim / kMostParts * 2));
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        const int row = g + 8 * side;
        if (row >= tile.rows) continue;
        cluster_store_pair(to + 4 * ((block * most_rows + row) * columns +
                                     (first & (columns - 1)) + 2 * q),
                           value[half][2 * side], value[half][2 * side + 1]);
      }
    }
  }
}

// Merges this thread block's columns: a pair of lanes two columns of a row, one
// the even blocks, one the odd ones.
template <int kDim>
__device__ __forceinline__ void merge_columns(const AttentionCall& call,
                                              const Tile& tile, int blocks,
                                              int rank, const uint8_t* shared,
                                              const JointLayout& layout) {
  const int columns = kDim / call.splits;
  const int most_rows = call.tile_rows * call.group;
  const auto* partials =
      reinterpret_cast<const float*>(shared + layout.partials);
  const auto* stats = reinterpret_cast<const float2*>(shared + layout.stats);
  const int works = tile.rows * columns;
  for (int first = threadIdx.x / 32 * 32; first < works; first += blockDim.x) {
    const int work = first + threadIdx.x % 32;
    const int parity = work & 1, row = work / columns;
    const int col = work % columns / 2 * 2;
    Chain<2> chain;
    if (work < works) {
      const int odd = static_cast<int>(tile.first_block & 1);
#pragma unroll 4
      for (int block = parity ^ odd; block < blocks; block += 2) {
        const int at = block * most_rows + row;
        const float2 stat = stats[at];
        const float2 value =
            *reinterpret_cast<const float2*>(partials + at * columns + col);
        chain.add({stat.x, stat.y, {value.x, value.y}});
      }
    }
    const auto other = [](float x) {
      return __shfl_xor_sync(0xffffffffu, x, 1);
    };
    const Chain<2> second = {other(chain.largest),
                             other(chain.sum),
                             {other(chain.out[0]), other(chain.out[1])}};
    if (parity != 0 || work >= works) continue;
    chain.add(second);
    const float inverse = __fdiv_rn(1.0f, chain.sum);
    store_pair(call, tile, row, rank * columns + col,
               finished(chain.out[0], inverse),
               finished(chain.out[1], inverse));
  }
}

#endif  // __CUDA_ARCH__ >= 900

template <int kDim>
__global__
__launch_bounds__(kWarpsThreads* kMostGroups) void attention_joint_kernel(
    const __grid_constant__ AttentionCall call) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) uint8_t shared[];
  let_next_start();
  cluster_arrive_started();
  const JointLayout layout(call, kDim);
  const uint32_t base = shared_address(shared);
  const Tile tile = find_tile(call, blockIdx.x, blockIdx.y);
  const int count = static_cast<int>(tile.last_block - tile.first_block) + 1;
  const int parts = call.splits, rank = blockIdx.z;
  const Blocks<kDim> blocks = {call,
                               tile,
                               rank,
                               parts,
                               (count - rank + parts - 1) / parts,
                               base,
                               base + layout.tiles};
  const int group = threadIdx.x / kWarpsThreads;
  const bool leads = threadIdx.x % kWarpsThreads == 0;
  if (leads) {
    barrier_init(blocks.barrier(group, false), 1);
    barrier_init(blocks.barrier(group, true), 1);
    barrier_init_done();
    if (group < blocks.rounds) {
      // With has_heads only this kernel writes these blocks.
      if (call.has_heads == 0 && !is_older(call, tile, blocks.at(group))) {
        wait_for_previous();
      }
      blocks.load(group);
    }
  }
  __syncthreads();
  wait_for_previous();
  uint8_t* queries = shared + layout.queries;
  if (call.has_heads != 0) {
    do_heads(blocks, shared, queries);
  } else {
    load_queries<kDim, kFewQueries>(call, tile, queries);
  }
  __syncthreads();
  cluster_wait();  // all have started
  const int part = threadIdx.x % kWarpsThreads / 32;
  const int g = threadIdx.x % 32 / 4;
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  auto* scores =
      reinterpret_cast<float(*)[kScoreStride]>(shared + layout.scores) +
      kFewQueries * group;
  for (int round = group; round < blocks.rounds; round += call.groups) {
    const uint32_t keys = blocks.keys(round);
    barrier_wait(blocks.barrier(round, false), blocks.parity(round));
    score_part<kDim, kFewQueries>(call, blocks.at(round), base + layout.queries,
                                  0, keys, part, visible, scores);
    group_sync(group);
    const BlockWeights weights = weigh_shared(scores);
    barrier_wait(blocks.barrier(round, true), blocks.parity(round));
    send_block<kDim>(call, tile, layout, base, rank + round * parts, weights,
                     keys + kBlockBytes<kDim>);
    if (round + call.groups < blocks.rounds) {
      show_to_copies();
      group_sync(group);  // keys, values and scores have been read
      if (leads) blocks.load(round + call.groups);
    }
  }
  cluster_arrive();
  cluster_wait();  // all partial results are there
  merge_columns<kDim>(call, tile, count, rank, shared, layout);
#endif
}

template <int kDim>
void launch(LaunchQueue& queue, const AttentionCall& call, int64_t tiles) {
  LaunchShape shape = {dim3(static_cast<unsigned>(tiles),
                            static_cast<unsigned>(call.part.kv_heads),
                            static_cast<unsigned>(call.splits)),
                       kWarpsThreads * call.groups,
                       JointLayout(call, kDim).bytes};
  shape.cluster = call.splits;
  queue.launch(attention_joint_kernel<kDim>, shape, call);
}

}  // namespace

bool cut_joint(const DeviceTraits& device, AttentionCall& call,
               int64_t most_blocks) {
  constexpr int64_t kMostRounds = 4;
  const int parts = most_blocks >= kMostParts ? kMostParts : kMostParts / 2;
  const int64_t rounds = (most_blocks + parts - 1) / parts;
  if (!device.has_clusters || rounds > kMostRounds) return false;
  call.splits = parts;
  call.rounds = static_cast<int32_t>(rounds);
  call.groups = std::min(call.rounds, kMostGroups);
  const auto fits = [&] {
    return JointLayout(call, call.part.padded_dim).bytes <= device.shared_bytes;
  };
  while (call.groups > 1 && !fits()) --call.groups;
  return fits();
}

void launch_attention_joint(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles) {
  launch_for_dim(call.part.padded_dim, [&](auto dim) {
    launch<decltype(dim)::value>(queue, call, tiles);
  });
}

}  // namespace carat::cuda
