// Attention of many rows on Hopper: products by wgmma (the same bits as the
// other kernels; see docs/numerics-cuda.md).
//
// A pair of thread blocks (a cluster) works on 128 stacked rows of a kv head:
// one takes the even blocks of keys, the other the odd ones. In each, two
// warpgroups own 64 rows, a warp 16 with all their scores and values, and share
// the blocks that one thread brings by bulk copies, two ahead; while one
// weighs, the other multiplies. At the end each thread block joins half of the
// columns of all rows. Bound by the tensor cores (1024 cycles a warpgroup and
// block for 256 columns), at few rows by the longest row of blocks.
//
// Tiles of 64 rows lie in shared memory as panels of 64 columns. Values are
// used as they lie, keys by columns.
#include <type_traits>

#include "backend/cuda/attention_block.cuh"
#include "backend/cuda/attention_tile.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/cluster.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_WGMMA_DEVICE 1
#endif

namespace carat::cuda {
namespace {

constexpr int kGroupThreads = 128;
constexpr int kConsumers = 2 * kGroupThreads;
constexpr int kThreads = kConsumers + kGroupThreads;  // the last one loads
constexpr int kStages = 2;

// Shared memory: barriers, each thread's share of the exchanged stats, the
// groups' queries (later: what they exchange), stages of keys and values.
constexpr int kStatsAt = 1024;
constexpr int kQueriesAt = kStatsAt + kConsumers * 16;
static_assert(kQueriesAt % 1024 == 0);

template <int kDim>
constexpr int kSharedBytes = kQueriesAt + (2 + 2 * kStages) * kBlockBytes<kDim>;

#ifdef CARAT_WGMMA_DEVICE

constexpr int kGroupRows = kTensorQueries / 2;
constexpr int kPanelBytes = 64 * 128;

struct Ring {
  uint32_t full;   // barriers: keys, values of stage 0, keys, values of 1
  uint32_t empty;  // likewise
  uint32_t tiles;  // likewise
};

__device__ __forceinline__ void group_sync(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(kGroupThreads)
               : "memory");
}

// Two groups take turns at starting products, so that one weighs while the
// other's run.
struct Turns {
  int group;
  bool has_other;

  __device__ __forceinline__ void begin() const {
    if (has_other && group == 1) arrive(0);
  }
  __device__ __forceinline__ void take() const {
    if (has_other) {
      asm volatile("bar.sync %0, %1;" ::"r"(3 + group), "n"(kConsumers)
                   : "memory");
    }
  }
  __device__ __forceinline__ void pass() const {
    if (has_other) arrive(1 - group);
  }
  // Nobody waits for the second group's last pass.
  __device__ __forceinline__ void pass_last() const {
    if (has_other && group == 0) arrive(1);
  }

 private:
  static __device__ __forceinline__ void arrive(int to) {
    asm volatile("bar.arrive %0, %1;" ::"r"(3 + to), "n"(kConsumers)
                 : "memory");
  }
};

// One thread: keeps the stages filled. Blocks that no running kernel writes
// are loaded at once.
template <int kDim>
__device__ void fill_ring(const AttentionCall& call, const Tile& tile,
                          int64_t first_block, int count, const Ring& ring) {
  bool has_waited = false;
  const uint8_t* next =
      count > 0 ? keys_of<kDim>(call, tile, first_block) : nullptr;
  for (int i = 0; i < count; ++i) {
    const int64_t block = first_block + 2 * i;
    const uint8_t* keys = next;
    if (i + 1 < count) next = keys_of<kDim>(call, tile, block + 2);
    if (!has_waited && !is_older(call, tile, block)) {
      wait_for_previous();
      has_waited = true;
    }
#pragma unroll
    for (int is_value = 0; is_value < 2; ++is_value) {
      const int slot = i % kStages * 2 + is_value;
      const uint32_t barrier = ring.full + 8 * slot;
      barrier_wait(ring.empty + 8 * slot, i / kStages & 1 ^ 1);
      barrier_expect(barrier, kBlockBytes<kDim>);
      bulk_copy(ring.tiles + slot * kBlockBytes<kDim>,
                keys + is_value * value_offset<kDim>(call), kBlockBytes<kDim>,
                barrier);
    }
  }
}

// A group's scaled queries as f16. The last row stands in for those that do not
// exist, and some column for those past head_dim, where keys are zeros.
template <int kDim>
__device__ __forceinline__ void load_query_panels(const AttentionCall& call,
                                                  const Tile& tile,
                                                  int first_row,
                                                  uint8_t* shared) {
  constexpr int kQuads = kDim / 4, kStep = kGroupThreads / kQuads;
  constexpr int kLoads = kGroupRows / kStep;  // up to 32
  const int thread = threadIdx.x % kGroupThreads;
  const int first = thread / kQuads, col = thread % kQuads * 4;
  const bool is_column = col < call.part.head_dim;
  // Lane i finds the place of the row that the i-th load needs.
  const int row =
      min(first_row + first + threadIdx.x % 32 * kStep, tile.rows - 1);
  const auto place =
      static_cast<int>(position_in_tile(call, row) * call.q.stride +
                       head_in_tile(call, row) * call.part.head_dim);
  const float* from =
      call.q.data +
      int64_t{tile.sequence.first_row + tile.first} * call.q.stride +
      tile.kv_head * call.group * call.part.head_dim + (is_column ? col : 0);
  float4 loaded[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    loaded[i] = *reinterpret_cast<const float4*>(
        from + __shfl_sync(0xffffffffu, place, i));
  }
  uint8_t* to =
      shared + col / 64 * (kGroupRows * 128) + first * 128 + col % 8 * 2;
  const int swapped = ((col / 8 ^ first) & 7) << 4;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const float4 v = is_column ? loaded[i] : float4{0, 0, 0, 0};
    const uint2 packed = {
        half_pair(__fmul_rn(v.x, call.scale), __fmul_rn(v.y, call.scale)),
        half_pair(__fmul_rn(v.z, call.scale), __fmul_rn(v.w, call.scale))};
    *reinterpret_cast<uint2*>(to + i * kStep * 128 +
                              (swapped ^ ((i * kStep & 7) << 4))) = packed;
  }
}

// What rows g and g + 8 of a warp see: keys [begin, end).
struct Sights {
  int begin[2];
  int end[2];
};

// Softcap, and -inf for keys that a row does not see. `first`: the block's
// first key; `sees_all`: every row sees the block.
__device__ __forceinline__ void finish_scores(const AttentionCall& call,
                                              int first, bool sees_all,
                                              const Sights& sights,
                                              float (&score)[8][4]) {
  if (call.softcap > 0) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[j][i] = capped(score[j][i], call.softcap);
      }
    }
  }
  if (sees_all) return;
  const int own = first + threadIdx.x % 4 * 2;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int begin = sights.begin[side] - own, end = sights.end[side] - own;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = 8 * j + i;
        if (key < begin || key >= end) {
          score[j][2 * side + i] = kMinusInfinity;
        }
      }
    }
  }
}

// What a thread of a group has of one chain of blocks.
template <int kPanels>
struct Share {
  float out[kPanels][32];
  float largest[2];
  float sum[2];
};

template <int kDim>
__device__ __forceinline__ void walk_blocks(
    const AttentionCall& call, const Tile& tile, int group, int64_t first_block,
    int count, const Ring& ring, const Turns& turns, uint32_t queries,
    Share<kDim / 64>& share) {
  constexpr int kPanels = kDim / 64;
  const int row = group * kGroupRows + threadIdx.x % kGroupThreads / 32 * 16 +
                  threadIdx.x % 32 / 4;
  Sights sights;  // positions are below 2^31
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const Visible visible =
        visible_to(call, tile.position(call, row + 8 * side));
    sights.begin[side] = static_cast<int>(visible.begin);
    sights.end[side] = static_cast<int>(visible.end);
  }
  // What all rows of the group see.
  const int first_row = group * kGroupRows;
  const int last_row = min(first_row + kGroupRows, tile.rows) - 1;
  const auto all_begin =
      static_cast<int>(visible_to(call, tile.position(call, last_row)).begin);
  const auto all_end =
      static_cast<int>(visible_to(call, tile.position(call, first_row)).end);
  const uint64_t query_panels = wgmma_descriptor(queries);
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
#pragma unroll
    for (int i = 0; i < 32; ++i) share.out[p][i] = 0;
  }
  share.largest[0] = share.largest[1] = kMinusInfinity;
  share.sum[0] = share.sum[1] = 0;
  const bool releases = threadIdx.x % 32 == 0;
  if (count == 0) return;
  turns.begin();

  float raw[32], value[2][32];
  BlockWeights weights;
  const auto start_scores = [&](int i) {
    const int slot = i % kStages * 2;
    const uint64_t key_panels =
        wgmma_descriptor(ring.tiles + slot * kBlockBytes<kDim>);
    barrier_wait(ring.full + 8 * slot, i / kStages & 1);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const uint64_t at = step / 4 * (kPanelBytes / 16) + step % 4 * 2;
      wgmma_f16(raw, query_panels + at, key_panels + at, step > 0);
    }
    wgmma_commit();
  };
  const auto end_scores = [&](int i) {
    wgmma_wait<0>();
    pin(raw);
    if (releases) barrier_arrive(ring.empty + 8 * (i % kStages * 2));
  };
  turns.take();
  start_scores(0);
  turns.pass();
  end_scores(0);
  // The last one apart: products may not be under way where paths meet.
  const auto finish_block = [&](int i, auto is_last) {
    const int first = static_cast<int>(first_block + 2 * i) * kKeys;
    const int slot = i % kStages * 2 + 1;
    const uint64_t value_panels =
        wgmma_descriptor_transposed(ring.tiles + slot * kBlockBytes<kDim>);
    {
      float score[8][4];
#pragma unroll
      for (int k = 0; k < 32; ++k) score[k / 4][k % 4] = raw[k];
      finish_scores(call, first, first >= all_begin && first + kKeys <= all_end,
                    sights, score);
      weights = weigh(score, 2);
    }
    MergeFactors factors[2];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      factors[side] = merge_factors(share.largest[side], weights.largest[side]);
      share.largest[side] = factors[side].largest;
      share.sum[side] =
          merged(share.sum[side], weights.sum[side], factors[side]);
    }
    barrier_wait(ring.full + 8 * slot, i / kStages & 1);
    // A panel of values, and then the next block's scores, are multiplied while
    // the panel before is merged.
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
    pin(weights.p);
    turns.take();
    start(0);
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      if (p + 1 < kPanels) {
        start(p + 1);
        wgmma_wait<1>();
      } else if constexpr (!decltype(is_last)::value) {
        start_scores(i + 1);
        turns.pass();
        wgmma_wait<1>();
      } else {
        turns.pass_last();
        wgmma_wait<0>();
      }
      pin(value[p % 2]);
#pragma unroll
      for (int k = 0; k < 32; ++k) {
        share.out[p][k] =
            merged(share.out[p][k], value[p % 2][k], factors[k % 4 / 2]);
      }
    }
    if (releases) barrier_arrive(ring.empty + 8 * slot);
    if constexpr (!decltype(is_last)::value) end_scores(i + 1);
  };
#pragma unroll 1
  for (int i = 0; i + 1 < count; ++i) finish_block(i, std::false_type());
  finish_block(count - 1, std::true_type());
}

// Panels of which a thread block leaves the half that the other one joins, to
// shared memory, [panel][quad][thread].
template <int kPanels, int kFirst>
__device__ __forceinline__ void leave(const Share<kPanels>& share,
                                      uint8_t* exchange, float4* stats) {
  auto* to = reinterpret_cast<float4*>(exchange) + threadIdx.x % kGroupThreads;
#pragma unroll
  for (int p = 0; p < kPanels / 2; ++p) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float* from = share.out[kFirst + p] + 4 * k;
      to[(8 * p + k) * kGroupThreads] = {from[0], from[1], from[2], from[3]};
    }
  }
  stats[threadIdx.x] = {share.largest[0], share.largest[1], share.sum[0],
                        share.sum[1]};
}

// Joins the half that begins with panel kFirst with what block kOther left.
template <int kPanels, int kFirst, int kOther>
__device__ __forceinline__ void join(const AttentionCall& call,
                                     const Tile& tile, int group,
                                     const Share<kPanels>& share,
                                     uint32_t exchange, uint32_t stats) {
  const int thread = threadIdx.x % kGroupThreads;
  const float4 stat =
      cluster_load_quad(cluster_address(stats + 16 * threadIdx.x, kOther));
  const uint32_t from = cluster_address(exchange + 16 * thread, kOther);
  const float largest[2] = {stat.x, stat.y}, sums[2] = {stat.z, stat.w};
  const auto even = [&](float own, float other) {
    return kOther == 1 ? own : other;
  };
  const auto odd = [&](float own, float other) {
    return kOther == 1 ? other : own;
  };
  MergeFactors factors[2];
  float sum[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    factors[side] = merge_factors(even(share.largest[side], largest[side]),
                                  odd(share.largest[side], largest[side]));
    sum[side] = merged(even(share.sum[side], sums[side]),
                       odd(share.sum[side], sums[side]), factors[side]);
  }
  float4 other[kPanels / 2 * 8];
#pragma unroll
  for (int k = 0; k < kPanels / 2 * 8; ++k) {
    other[k] = cluster_load_quad(from + k * kGroupThreads * 16);
  }
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int row =
        group * kGroupRows + thread / 32 * 16 + thread % 32 / 4 + 8 * side;
    if (row >= tile.rows) continue;
    const int64_t at =
        tile.sequence.first_row + tile.first + position_in_tile(call, row);
    const int head = tile.kv_head * call.group + head_in_tile(call, row);
    const float inverse = fast_reciprocal(sum[side]);
    const int tiles = call.part.head_dim / kTileCols;  // of a head
    uint8_t* to = slab_chunk(call.out, at, head * tiles + kFirst, 0) -
                  ((at & 7) << 4) + thread % 4 * 4;
#pragma unroll
    for (int p = 0; p < kPanels / 2; ++p) {
      if (kFirst + p >= tiles) break;
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        float result[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float own = share.out[kFirst + p][4 * k + 2 * side + i];
          const float4& quad = other[8 * p + k];
          const float left = side == 0 ? (i == 0 ? quad.x : quad.y)
                                       : (i == 0 ? quad.z : quad.w);
          result[i] = finished(
              merged(even(own, left), odd(own, left), factors[side]), inverse);
        }
        *reinterpret_cast<__nv_bfloat162*>(
            to + ((k ^ static_cast<int>(at & 7)) << 4)) =
            __floats2bfloat162_rn(result[0], result[1]);
      }
      to += int64_t{call.out.capacity} * 128;
    }
  }
}

#endif  // CARAT_WGMMA_DEVICE

template <int kDim>
__global__ __launch_bounds__(kThreads, 1) void attention_tensor_kernel(
    const __grid_constant__ AttentionCall call) {
#ifdef CARAT_WGMMA_DEVICE
  extern __shared__ __align__(1024) uint8_t shared[];
  constexpr int kPanels = kDim / 64;
  let_next_start();
  const int rank = blockIdx.z;
  const Tile tile = find_tile(call, blockIdx.y, blockIdx.x);
  const int64_t first_block =
      tile.first_block + ((tile.first_block ^ rank) & 1);
  const int count =
      first_block > tile.last_block
          ? 0
          : static_cast<int>(tile.last_block - first_block) / 2 + 1;
  const int groups = tile.rows > kGroupRows ? 2 : 1;
  Ring ring;
  ring.full = shared_address(shared);
  ring.empty = ring.full + 8 * 2 * kStages;
  ring.tiles = ring.full + kQueriesAt + 2 * kBlockBytes<kDim>;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2 * kStages; ++i) {
      barrier_init(ring.full + 8 * i, 1);
      barrier_init(ring.empty + 8 * i, groups * kGroupThreads / 32);
    }
    barrier_init_done();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == kConsumers) {
      fill_ring<kDim>(call, tile, first_block, count, ring);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = __shfl_sync(0xffffffffu, threadIdx.x / kGroupThreads, 0);
    if (group >= groups) return;
    const int queries_at = kQueriesAt + group * kBlockBytes<kDim>;
    auto* stats = reinterpret_cast<float4*>(shared + kStatsAt);
    wait_for_previous();
    load_query_panels<kDim>(call, tile, group * kGroupRows,
                            shared + queries_at);
    show_to_wgmma();
    group_sync(group);
    const Turns turns = {group, groups > 1};
    Share<kPanels> share;
    walk_blocks<kDim>(call, tile, group, first_block, count, ring, turns,
                      ring.full + queries_at, share);
    group_sync(group);  // the queries have been read
    if (rank == 0) {
      leave<kPanels, kPanels / 2>(share, shared + queries_at, stats);
    } else {
      leave<kPanels, 0>(share, shared + queries_at, stats);
    }
    cluster_arrive();
    cluster_wait();
    if (rank == 0) {
      join<kPanels, 0, 1>(call, tile, group, share, ring.full + queries_at,
                          ring.full + kStatsAt);
    } else {
      join<kPanels, kPanels / 2, 0>(call, tile, group, share,
                                    ring.full + queries_at,
                                    ring.full + kStatsAt);
    }
    cluster_arrive();
    cluster_wait();  // the other one has read this one's
  }
#endif
}

template <int kDim>
void launch(LaunchQueue& queue, const AttentionCall& call, int64_t tiles) {
  LaunchShape shape = {dim3(static_cast<unsigned>(call.part.kv_heads),
                            static_cast<unsigned>(tiles), 2),
                       kThreads, kSharedBytes<kDim>};
  shape.cluster = 2;
  queue.launch(attention_tensor_kernel<kDim>, shape, call);
}

}  // namespace

bool tensor_attention_supports(const DeviceTraits& device, int head_dim) {
  return device.has_wgmma && head_dim > 64 && head_dim <= 256 &&
         head_dim % kTileCols == 0;
}

void launch_attention_tensor(LaunchQueue& queue, const AttentionCall& call,
                             int64_t tiles) {
  call.part.padded_dim > 128 ? launch<256>(queue, call, tiles)
                             : launch<128>(queue, call, tiles);
}

}  // namespace carat::cuda
