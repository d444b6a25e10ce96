// Chooses the tile of a wide linear launch. Bits do not depend on it.
#include "backend/cuda/linear_wide.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/device_error.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// What a tile costs, in cycles: a k tile takes the tensor cores 4 a column, but
// expanding its weights takes a while too; then filling the pipeline, storing.
constexpr int64_t kColumnCycles = 4;
constexpr int64_t kExpandCycles = 240;
constexpr int64_t kTileCycles = 1500;
constexpr int64_t kStoreCycles = 8;  // a column
constexpr int kThreads = 384;
// Built for another target than sm_90a, the kernels are empty.
constexpr int kLeastWideRegisters = 64;

int best_width(const LinearCall& call, int64_t pairs, int processors) {
  int best = kWidths[0];
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const int width : kWidths) {
    const int64_t tiles = pairs * ((call.rows + width - 1) / width);
    const int64_t rounds = (tiles + processors - 1) / processors;
    const int64_t k_tile = std::max(kColumnCycles * width, kExpandCycles);
    const int64_t cost = rounds * (call.input.k_tiles * k_tile + kTileCycles +
                                   kStoreCycles * width);
    // Of equals the wider one: it expands weights less often.
    if (cost <= least) {
      least = cost;
      best = width;
    }
  }
  return best;
}

int ranges_of(const LinearCall& call) {
  return (call.input.k_tiles + kRangeTiles - 1) / kRangeTiles;
}
// Of the partial sums: the first part leaves one, the others one a range.
int slots_of(int ranges, int parts) { return ranges - ranges / parts + 1; }

// What one thread block takes for `k_tiles` as measured (docs/performance.md):
// it waits for itself, so narrow tiles cost as much as wider ones.
int64_t block_cycles(int64_t k_tiles, int width) {
  return k_tiles * std::max<int64_t>(480, 6 * width) + kTileCycles +
         kStoreCycles * width;
}

// Gives `call` as deep a ring as fits; returns the shared memory it takes.
int fit_ring(const DeviceTraits& device, LinearCall& call, int width,
             bool gated) {
  const WideLayout layout = wide_layout(call, width, gated);
  call.stages = std::min(
      kMostStages, (device.shared_bytes - kBarrierBytes) / layout.stage_bytes);
  return kBarrierBytes + call.stages * layout.stage_bytes;
}

void launch_split(LaunchQueue& queue, const DeviceTraits& device,
                  LinearCall call, int bits) {
  const int shared_bytes = fit_ring(device, call, kSplitWidth, false);
  const int pairs = (call.tile_count + 1) / 2;
  const int columns = (call.rows + kSplitWidth - 1) / kSplitWidth;
  queue.launch(bits == 4 ? split_kernel_4() : split_kernel_8(),
               {dim3(static_cast<unsigned>(std::min(
                    device.processors, pairs * columns * call.k_parts))),
                kThreads, shared_bytes},
               call);
  const LinearPiece& piece = call.pieces[0];
  launch_join(
      queue, {call.partials, piece.out, slots_of(ranges_of(call), call.k_parts),
              call.rows, piece.weight.rows});
}

}  // namespace

WideSplit plan_wide_split(const DeviceTraits& device, const LinearCall& call,
                          bool gated) {
  // Reading the sums again, and starting the kernel that does.
  constexpr int64_t kJoinCycles = 4000;
  constexpr int64_t kJoinBytes = 2500;  // a cycle
  const int ranges = ranges_of(call);
  if (gated || call.piece_count != 1 || ranges < 2) return {};
  const int64_t pairs = (call.tile_count + 1) / 2;
  const auto rounds = [&](int64_t works) {
    return (works + device.processors - 1) / device.processors;
  };
  const auto columns = [&](int64_t width) {
    return (call.rows + width - 1) / width;
  };
  const int whole = best_width(call, pairs, device.processors);
  const int64_t without =
      rounds(pairs * columns(whole)) * block_cycles(call.input.k_tiles, whole);
  WideSplit best;
  int64_t least = without * 9 / 10;  // not for a little
  const int64_t row_bytes =
      int64_t{call.rows} * round_up(call.pieces[0].weight.rows, 4) * 4;
  for (int parts = 2; parts <= ranges; ++parts) {
    const int64_t most_tiles = (ranges + parts - 1) / parts * kRangeTiles;
    const int64_t bytes = slots_of(ranges, parts) * row_bytes;
    const int64_t cost = rounds(pairs * columns(kSplitWidth) * parts) *
                             block_cycles(most_tiles, kSplitWidth) +
                         kJoinCycles + bytes / kJoinBytes;
    if (cost < least) {
      least = cost;
      best = {parts, bytes};
    }
  }
  return best;
}

void launch_linear_wide(LaunchQueue& queue, const DeviceTraits& device,
                        LinearCall call, int bits, bool gated) {
  if (call.k_parts > 1) {
    launch_split(queue, device, call, bits);
    return;
  }
  const int pairs = gated ? call.tile_count : (call.tile_count + 1) / 2;
  const int width = best_width(call, pairs, device.processors);
  const int columns = (call.rows + width - 1) / width;
  const int shared_bytes = fit_ring(device, call, width, gated);
  const WideKernel kernel =
      bits == 4 ? wide_kernel_4(width, gated) : wide_kernel_8(width, gated);
  queue.launch(kernel,
               {dim3(static_cast<unsigned>(
                    std::min(device.processors, pairs * columns))),
                kThreads, shared_bytes},
               call);
}

bool wide_supports(const WeightTiles& weight) {
  return weight.bits == 8 || weight.steps_per_group >= 2;
}

cudaError_t code_status() noexcept {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(
      &attributes,
      reinterpret_cast<const void*>(wide_kernel_4(kWidths[0], false)));
  cudaGetLastError();
  return status;
}

bool has_wgmma_code() {
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(
            &attributes,
            reinterpret_cast<const void*>(wide_kernel_4(kWidths[0], false))),
        "looking for code for this device");
  return attributes.binaryVersion == 90 && attributes.maxThreadsPerBlock > 0 &&
         attributes.numRegs > kLeastWideRegisters;
}

}  // namespace carat::cuda
