// Linear layers of many rows on Hopper: y^T = W x^T with wgmma.
//
// Persistent thread blocks of three warpgroups. The third keeps a ring of
// stages filled by bulk copies: per 64 k the activations of kWidth rows,
// already swizzled, and two weight tiles as packed. The first two multiply:
// each expands 64 outputs' codes in registers (the A operand) against the same
// activations (B, from shared memory), kWidth columns at a time. After every
// 512 k the sum is added to the total, in ascending order: the bits are those
// of linear_small, whatever kWidth is (docs/numerics-cuda.md).
//
// Split: where outputs and rows are few and K is long, thread blocks share the
// K of a tile. Each but the first leaves the sum of every range of its own
// behind, the first its total; join_ranges adds them in ascending order: the
// same bits.
//
// Gated: the rows g of each fragment are gates, the rows g + 8 the ups of the
// same outputs, so both meet in one thread and their product is stored as bf16.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_

#include "backend/cuda/activation.cuh"
#include "backend/cuda/barrier.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_wide.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/overlap.cuh"
#include "backend/cuda/slab.cuh"
#include "backend/cuda/unpack.cuh"
#include "backend/cuda/wgmma.cuh"

// wgmma and setmaxnreg exist for sm_90a alone; other targets get empty kernels
// that are never launched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_WIDE_DEVICE 1
#endif

namespace carat::cuda {

inline constexpr int kMultiplyThreads = 256;
inline constexpr int kWideThreads = 384;

#ifdef CARAT_WIDE_DEVICE

// The tile a warpgroup multiplies, and where its codes lie in a stage.
struct WideTile {
  const LinearPiece* piece;
  int tile;  // within the piece
};

__device__ __forceinline__ WideTile find_tile(const LinearCall& call,
                                              int tile) {
  tile = min(tile, call.tile_count - 1);
  int piece = 0;
  while (piece + 1 < call.piece_count &&
         tile >= call.pieces[piece + 1].first_tile) {
    ++piece;
  }
  return {&call.pieces[piece], tile - call.pieces[piece].first_tile};
}

template <bool kGated>
__device__ __forceinline__ WideTile wide_tile(const LinearCall& call, int pair,
                                              int half) {
  if constexpr (kGated) return {&call.pieces[half], pair};
  return find_tile(call, 2 * pair + half);
}

struct Ring {
  uint32_t full;  // barriers, 8 bytes apart
  uint32_t empty;
  uint32_t stages;
  int stage_bytes;
  int weight_bytes;  // room for one tile
  int count;
};

// What a thread block does next: a tile, or some ranges of its K.
struct WideWork {
  int pair, row;   // two tiles of 64 outputs, the first row
  int begin, end;  // k tiles

  template <int kWidth, bool kSplit>
  static __device__ __forceinline__ WideWork at(const LinearCall& call,
                                                int work, int columns) {
    WideWork result;
    const int tile = kSplit ? work / call.k_parts : work;
    result.pair = tile / columns;
    result.row = tile % columns * kWidth;
    result.begin = 0;
    result.end = call.input.k_tiles;
    if constexpr (kSplit) {
      const int part = work % call.k_parts;
      result.begin = kRangeTiles * first_range(call, part);
      result.end = min(result.end, kRangeTiles * first_range(call, part + 1));
    }
    return result;
  }
  static __device__ __forceinline__ int first_range(const LinearCall& call,
                                                    int part) {
    const int ranges = (call.input.k_tiles + kRangeTiles - 1) / kRangeTiles;
    return ranges * part / call.k_parts;
  }
};

// One thread: keeps the stages filled.
template <int kWidth, bool kGated, bool kSplit>
__device__ void fill_ring(const LinearCall& call, const Ring& ring, int works,
                          int columns) {
  const int k_tiles = call.input.k_tiles;
  int stage = 0, parity = 1;
  for (int work = blockIdx.x; work < works; work += gridDim.x) {
    const WideWork own = WideWork::at<kWidth, kSplit>(call, work, columns);
    const int pair = own.pair, row = own.row;
    const int x_bytes = min(kWidth, call.input.capacity - row) * 128;
    const WideTile tiles[2] = {wide_tile<kGated>(call, pair, 0),
                               wide_tile<kGated>(call, pair, 1)};
    const uint8_t* from[2];
    int bytes[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const WeightTiles& weight = tiles[half].piece->weight;
      bytes[half] = kSlices * weight.slice_bytes;
      from[half] =
          weight.data +
          (int64_t{tiles[half].tile} * k_tiles + own.begin) * bytes[half];
    }
    const uint8_t* x = call.input.data + int64_t{row} * 128 +
                       int64_t{own.begin} * call.input.capacity * 128;
    for (int kt = own.begin; kt < own.end; ++kt) {
      barrier_wait(ring.empty + 8 * stage, parity);
      const uint32_t barrier = ring.full + 8 * stage;
      const uint32_t to = ring.stages + stage * ring.stage_bytes;
      barrier_expect(barrier, x_bytes + bytes[0] + bytes[1]);
      bulk_copy(to, x, x_bytes, barrier);
      bulk_copy(to + kWidth * 128, from[0], bytes[0], barrier);
      bulk_copy(to + kWidth * 128 + ring.weight_bytes, from[1], bytes[1],
                barrier);
      x += int64_t{call.input.capacity} * 128;
      from[0] += bytes[0];
      from[1] += bytes[1];
      if (++stage == ring.count) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

// Scales of a lane's slice that a k tile may have: groups of 32 or more for 4
// bits (linear_small takes others), of 16 or more for 8.
template <int kBits>
inline constexpr int kTileScales = kBits == 4 ? 2 : 4;

// Where a lane finds its part of a slice within a weight tile.
template <int kBits>
struct SliceReader {
  int codes_at;                       // bytes
  int scales_at[kTileScales<kBits>];  // of rows g and g + 8
  uint32_t centre;
  bool has_bias;

  __device__ SliceReader(const WeightTiles& weight, int slice) {
    const int lane = threadIdx.x % 32;
    const int offset = slice * weight.slice_bytes;
    codes_at = offset + lane * 16;
    const int words = kGroupWords * (weight.has_bias != 0 ? 2 : 1);
#pragma unroll
    for (int i = 0; i < kTileScales<kBits>; ++i) {
      const int step = i * kStepsPerTile / kTileScales<kBits>;
      scales_at[i] = offset + 128 * kBits +
                     4 * (step / weight.steps_per_group * words + lane / 4);
    }
    centre = centre_pair(weight);
    has_bias = weight.has_bias != 0;
  }
};

// A lane's part of a k tile.
template <int kBits>
struct LaneTile {
  LaneCodes<kBits> codes;
  uint32_t scales[kTileScales<kBits>];
  uint32_t biases[kTileScales<kBits>];

  __device__ __forceinline__ void load(const SliceReader<kBits>& reader,
                                       const uint8_t* tile) {
#pragma unroll
    for (int plane = 0; plane < kBits / 4; ++plane) {
      codes.planes[plane] =
          *reinterpret_cast<const uint4*>(tile + reader.codes_at + plane * 512);
    }
#pragma unroll
    for (int i = 0; i < kTileScales<kBits>; ++i) {
      const auto* at =
          reinterpret_cast<const uint32_t*>(tile + reader.scales_at[i]);
      scales[i] = at[0];
      biases[i] = reader.has_bias ? at[kGroupWords] : 0u;
    }
  }
};

// The A fragments of a k tile's steps.
using Fragments = uint32_t[kStepsPerTile][4];

template <int kBits>
__device__ __forceinline__ void expand_tile(const SliceReader<kBits>& reader,
                                            const uint8_t* weights,
                                            Fragments& a) {
  LaneTile<kBits> tile;
  tile.load(reader, weights);
  constexpr int kShare = kStepsPerTile / kTileScales<kBits>;
  LaneScale scale;
#pragma unroll
  for (int s = 0; s < kStepsPerTile; ++s) {
    if (s % kShare == 0) {
      scale = spread(tile.scales[s / kShare], tile.biases[s / kShare]);
    }
    expand<kBits>(tile.codes, s, scale, reader.centre, a[s]);
  }
}

// Rows g of a fragment from one matrix, rows g + 8 from the other; `side` tells
// which of the lane's two rows of each.
template <int kBits>
__device__ __forceinline__ void expand_gated(const SliceReader<kBits>& gates,
                                             const uint8_t* gate_weights,
                                             const SliceReader<kBits>& ups,
                                             const uint8_t* up_weights,
                                             int side, Fragments& a) {
  LaneTile<kBits> gate_tile, up_tile;
  gate_tile.load(gates, gate_weights);
  up_tile.load(ups, up_weights);
  const uint32_t selector = side == 0 ? 0x1010 : 0x3232;
  const auto chosen = [&](uint32_t pair) {
    return as_bf16(__byte_perm(pair, 0, selector));
  };
  constexpr int kShare = kStepsPerTile / kTileScales<kBits>;
  __nv_bfloat162 scale[2], bias[2];
#pragma unroll
  for (int s = 0; s < kStepsPerTile; ++s) {
    if (s % kShare == 0) {
      scale[0] = chosen(gate_tile.scales[s / kShare]);
      bias[0] = chosen(gate_tile.biases[s / kShare]);
      scale[1] = chosen(up_tile.scales[s / kShare]);
      bias[1] = chosen(up_tile.biases[s / kShare]);
    }
    const uint2 gate = expand_side<kBits>(gate_tile.codes, s, side,
                                          gates.centre, scale[0], bias[0]);
    const uint2 up = expand_side<kBits>(up_tile.codes, s, side, ups.centre,
                                        scale[1], bias[1]);
    a[s][0] = gate.x;
    a[s][1] = up.x;
    a[s][2] = gate.y;
    a[s][3] = up.y;
  }
}

// y as f32: lane 4 g + q holds outputs g and g + 8 of rows 8 j + 2 q and the
// next.
template <int kWidth>
__device__ __forceinline__ void store_plain(const LinearCall& call,
                                            const Rows& out,
                                            const WideTile& tile, int first_row,
                                            const float (&total)[kWidth / 2]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int rows = tile.piece->weight.rows;
  const int n = tile.tile * kTileRows + threadIdx.x % 128 / 32 * kSliceRows + g;
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + 8 * j + 2 * q + (i & 1);
      const int output = n + 8 * (i >> 1);
      if (row < call.rows && output < rows) {
        out.data[row * out.stride + output] = total[4 * j + i];
      }
    }
  }
}

// Split: the sum of a range, or of the first part (-1), for join_ranges.
template <int kWidth>
__device__ __forceinline__ void leave_range(const LinearCall& call,
                                            const WideTile& own, int group,
                                            int row, int range,
                                            const float (&sum)[kWidth / 2]) {
  // An odd last tile comes twice.
  if (group == 1 && own.tile % 2 == 0) return;
  const int slot = range < 0 ? 0 : range - WideWork::first_range(call, 1) + 1;
  const Rows out = {
      call.partials.data + int64_t{slot} * call.rows * call.partials.stride,
      call.partials.stride};
  store_plain<kWidth>(call, out, own, row, sum);
}

__device__ __forceinline__ uint32_t transposed(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
               : "=r"(result)
               : "r"(pair));
  return result;
}

template <int kWidth>
__device__ __forceinline__ void store_gated(const LinearCall& call, int tile,
                                            int chunk, int first_row,
                                            const float (&total)[kWidth / 2]) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const bool is_silu = call.is_silu != 0;
  const int rows = call.pieces[0].weight.rows;
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
    const float first = gated(total[4 * j], total[4 * j + 2], is_silu);
    const float second = gated(total[4 * j + 1], total[4 * j + 3], is_silu);
    // Rows become lanes' g, outputs pairs 2q and 2q + 1.
    const uint32_t pair =
        transposed(as_bits(__floats2bfloat162_rn(first, second)));
    const int row = first_row + 8 * j + g;
    // Outputs past the last have weights of zero: zeros stay zeros.
    if (row < call.rows && tile * kTileRows + 8 * chunk < rows) {
      *reinterpret_cast<uint32_t*>(
          slab_chunk(call.gated_out, row, tile, chunk) + 4 * q) = pair;
    }
  }
}

// A warpgroup that multiplies. While a k tile is multiplied the next one's
// weights are expanded; a stage is given back once the tensor cores have read
// it, a tile later.
template <int kBits, int kWidth, bool kGated, bool kSplit>
__device__ void multiply(const LinearCall& call, const Ring& ring,
                         const uint8_t* stages, int works, int columns) {
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32;
  const int slice = kGated ? 2 * group + warp / 2 : warp;
  int stage = 0, parity = 0;
  for (int work = blockIdx.x; work < works; work += gridDim.x) {
    const WideWork place = WideWork::at<kWidth, kSplit>(call, work, columns);
    const int pair = place.pair, row = place.row;
    const int begin = place.begin, k_tiles = place.end;
    const WideTile own = wide_tile<kGated>(call, pair, kGated ? 0 : group);
    const WeightTiles& weight = own.piece->weight;
    const SliceReader<kBits> reader(weight, slice);
    const SliceReader<kBits> ups(kGated ? call.pieces[1].weight : weight,
                                 slice);
    float total[kWidth / 2], sum[kWidth / 2];
    Fragments a[2];
    uint64_t b = 0;    // of the tile expanded last
    int expanded = 0;  // its stage
    int used = 0;      // the stage that is still read

    // The next tile, into fragments that nothing reads any more.
    const auto expand_next = [&](Fragments& to) {
      barrier_wait(ring.full + 8 * stage, parity);
      const uint8_t* base = stages + stage * ring.stage_bytes;
      const uint8_t* weights = base + kWidth * 128;
      if constexpr (kGated) {
        expand_gated<kBits>(reader, weights, ups, weights + ring.weight_bytes,
                            warp % 2, to);
      } else {
        expand_tile<kBits>(reader, weights + group * ring.weight_bytes, to);
      }
      b = wgmma_descriptor(shared_address(base));
      expanded = stage;
      if (++stage == ring.count) {
        stage = 0;
        parity ^= 1;
      }
    };
    // Each lane for itself: after wgmma the compiler leaves __syncwarp out, and
    // without it nothing orders the others' reads before one lane's arrival.
    const auto release = [&](int which) {
      barrier_arrive(ring.empty + 8 * which);
    };
    // Starts the tile expanded last, and waits for the one before it.
    const auto start = [&](Fragments& from, int is_later) {
      pin(from);
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < kStepsPerTile; ++s) {
        Wgmma<kWidth>::step(sum, from[s], b + 2 * s, s == 0 ? is_later : 1);
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (is_later != 0) release(used);
      used = expanded;
    };
    const auto finish_range = [&](int kt) {
      wgmma_wait<0>();
      pin(sum);
      release(used);
      if constexpr (kSplit) {
        if (begin > 0) {
          leave_range<kWidth>(call, own, group, row, kt / kRangeTiles, sum);
          return;
        }
      }
#pragma unroll
      for (int i = 0; i < kWidth / 2; ++i) {
        total[i] = __fadd_rn(total[i], sum[i]);
      }
    };

    // -0 + x is x: the first range is the total as it is.
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) total[i] = -0.0f;
    expand_next(a[0]);
    int kt = begin;
#pragma unroll 1
    for (; kt + 1 < k_tiles; kt += 2) {
      start(a[0], kt % kRangeTiles);
      expand_next(a[1]);
      start(a[1], 1);
      if (kt + 2 < k_tiles) expand_next(a[0]);
      if (kt % kRangeTiles == kRangeTiles - 2 || kt + 2 == k_tiles) {
        finish_range(kt);
      }
    }
    if (kt < k_tiles) {
      start(a[0], kt % kRangeTiles);
      finish_range(kt);
    }
    if constexpr (kSplit) {
      if (begin == 0) leave_range<kWidth>(call, own, group, row, -1, total);
    } else if constexpr (kGated) {
      store_gated<kWidth>(call, pair, 4 * group + warp, row, total);
    } else if (2 * pair + group < call.tile_count) {
      store_plain<kWidth>(call, own.piece->out, own, row, total);
    }
  }
}

#endif  // CARAT_WIDE_DEVICE

template <int kBits, int kWidth, bool kGated, bool kSplit = false>
__global__ __launch_bounds__(kWideThreads, 1) void linear_wide_kernel(
    const __grid_constant__ LinearCall call) {
#ifdef CARAT_WIDE_DEVICE
  extern __shared__ __align__(1024) uint8_t shared[];
  const WideLayout layout = wide_layout(call, kWidth, kGated);
  Ring ring;
  ring.full = shared_address(shared);
  ring.empty = ring.full + 8 * kMostStages;
  ring.stages = ring.full + kBarrierBytes;
  ring.stage_bytes = layout.stage_bytes;
  ring.weight_bytes = layout.weight_bytes;
  ring.count = call.stages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < ring.count; ++i) {
      barrier_init(ring.full + 8 * i, 1);
      barrier_init(ring.empty + 8 * i, kMultiplyThreads);
    }
    barrier_init_done();
  }
  __syncthreads();
  let_next_start();
  wait_for_previous();
  const int pairs = kGated ? call.tile_count : (call.tile_count + 1) / 2;
  const int columns = (call.rows + kWidth - 1) / kWidth;
  const int works = pairs * columns * (kSplit ? call.k_parts : 1);
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == 256) {
      fill_ring<kWidth, kGated, kSplit>(call, ring, works, columns);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    multiply<kBits, kWidth, kGated, kSplit>(call, ring, shared + kBarrierBytes,
                                            works, columns);
  }
#endif
}

/// The kernel of a width; null if there is none.
template <int kBits, bool kGated>
WideKernel wide_kernel_of(int width) {
  switch (width) {
    case 48:
      return linear_wide_kernel<kBits, 48, kGated>;
    case 64:
      return linear_wide_kernel<kBits, 64, kGated>;
    case 80:
      return linear_wide_kernel<kBits, 80, kGated>;
    case 104:
      return linear_wide_kernel<kBits, 104, kGated>;
    case 128:
      return linear_wide_kernel<kBits, 128, kGated>;
    case 152:
      return linear_wide_kernel<kBits, 152, kGated>;
    case 160:
      return linear_wide_kernel<kBits, 160, kGated>;
    default:
      return nullptr;
  }
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_CUH_
