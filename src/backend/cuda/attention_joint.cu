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
#include "backend/cuda/attention_heads.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/attention_warps.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/cluster.cuh"
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
#pragma unroll 1
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

// A pair of lanes merges two columns of a row, of those that this thread block
// merges: one the even blocks, one the odd ones. Where they go is found before
// the partial results are there.
template <int kDim>
class ColumnMerge {
 public:
  __device__ __forceinline__ ColumnMerge(const AttentionCall& call,
                                         const Tile& tile, int rank, int work) {
    const int columns = columns_of(call);
    has_work_ = work < tile.rows * columns;
    row_ = work >> column_bits(call);
    col_ = (work & (columns - 1)) / 2 * 2;
    const int col = rank * columns + col_;
    if (!has_work_ || col >= call.part.head_dim) return;
    const int64_t at =
        tile.sequence.first_row + tile.first + position_in_tile(call, row_);
    const int head = tile.kv_head * call.group + head_in_tile(call, row_);
    place_ = slab_at(call.out, at, head * call.part.head_dim + col);
  }

  // All lanes of a warp.
  __device__ __forceinline__ void run(const AttentionCall& call,
                                      const Tile& tile, int blocks,
                                      const uint8_t* shared,
                                      const JointLayout& layout) const {
    const int columns = columns_of(call);
    const int most_rows = call.tile_rows * call.group;
    const auto* partials =
        reinterpret_cast<const float*>(shared + layout.partials);
    const auto* stats = reinterpret_cast<const float2*>(shared + layout.stats);
    const int parity = threadIdx.x & 1;
    Chain<2> chain;
    if (has_work_) {
      const int odd = static_cast<int>(tile.first_block & 1);
#pragma unroll 2
      for (int block = parity ^ odd; block < blocks; block += 2) {
        const int at = block * most_rows + row_;
        const float2 stat = stats[at];
        const float2 value =
            *reinterpret_cast<const float2*>(partials + at * columns + col_);
        chain.add({stat.x, stat.y, {value.x, value.y}});
      }
    }
    const auto other = [](float x) {
      return __shfl_xor_sync(0xffffffffu, x, 1);
    };
    const Chain<2> second = {other(chain.largest),
                             other(chain.sum),
                             {other(chain.out[0]), other(chain.out[1])}};
    if (parity != 0 || place_ == nullptr) return;
    chain.add(second);
    const float inverse = fast_reciprocal(chain.sum);
    *reinterpret_cast<__nv_bfloat162*>(place_) = __floats2bfloat162_rn(
        finished(chain.out[0], inverse), finished(chain.out[1], inverse));
  }

 private:
  // Splits are kMostParts or half of that.
  __device__ static int columns_of(const AttentionCall& call) {
    return 1 << column_bits(call);
  }
  __device__ static int column_bits(const AttentionCall& call) {
    constexpr int kBits = kDim == 256 ? 5 : kDim == 128 ? 4 : 3;
    static_assert(kMostParts << kBits == kDim);
    return call.splits == kMostParts ? kBits : kBits + 1;
  }

  bool has_work_;
  int row_;
  int col_;
  __nv_bfloat16* place_ = nullptr;
};

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
  uint8_t* queries = shared + layout.queries;
  const int part = threadIdx.x % kWarpsThreads / 32;
  const int g = threadIdx.x % 32 / 4;
  const Visible visible[2] = {visible_to(call, tile.position(call, g)),
                              visible_to(call, tile.position(call, g + 8))};
  ColumnMerge<kDim> merge(call, tile, rank, threadIdx.x);
  if (call.has_heads != 0) {
    do_heads(blocks, shared, queries);
  } else {
    __syncthreads();  // barriers are there
    wait_for_previous();
    load_queries<kDim, kFewQueries>(call, tile, queries);
  }
  __syncthreads();
  cluster_wait();  // all have started
  auto* scores =
      reinterpret_cast<float(*)[kScoreStride]>(shared + layout.scores) +
      kFewQueries * group;
  for (int round = group; round < blocks.rounds; round += call.groups) {
    const uint32_t keys = blocks.keys(round);
    barrier_wait(blocks.barrier(round, false), blocks.parity(round));
    score_part<kDim, kFewQueries>(call, blocks.at(round), base + layout.queries,
                                  0, keys, part, visible, scores);
    group_sync(group);
    const BlockWeights weights = weigh_shared(scores, tile.rows > 8 ? 2 : 1);
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
  const int works = tile.rows * (kDim / parts);
#pragma unroll 1
  for (int first = threadIdx.x / 32 * 32;;) {
    merge.run(call, tile, count, shared, layout);
    first += blockDim.x;
    if (first >= works) break;
    merge = ColumnMerge<kDim>(call, tile, rank, first + threadIdx.x % 32);
  }
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
