// Chooses the tile of a wide linear launch. Bits do not depend on it.
#include "backend/cuda/linear_wide.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/device_error.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// What a thread block takes, in cycles as measured on an H100: a k tile keeps
// the tensor cores busy for 4 a column, but expanding its weights beside them
// takes a while too; then filling the pipeline and storing.
constexpr int64_t kTileCycles = 2500;
constexpr int64_t kStoreCycles = 8;  // a column

int64_t block_cycles(int64_t k_tiles, int width) {
  return k_tiles * (250 + 3 * width) + kTileCycles + kStoreCycles * width;
}

// Built for another target than sm_90a, the kernels are empty.
constexpr int kLeastWideRegisters = 64;

int best_width(const LinearCall& call, int64_t pairs, int processors) {
  int best = kWidths[0];
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const int width : kWidths) {
    const int64_t tiles = pairs * ((call.rows + width - 1) / width);
    const int64_t rounds = (tiles + processors - 1) / processors;
    const int64_t cost = rounds * block_cycles(call.input.k_tiles, width);
    // Of equals the wider one: it expands weights less often.
    if (cost <= least) {
      least = cost;
      best = width;
    }
  }
  return best;
}

// Of the partial sums: the first part leaves one, the others one a range.
int slots_of(int ranges, int parts) { return ranges - ranges / parts + 1; }

JoinCall launch_split(LaunchQueue& queue, const DeviceTraits& device,
                      LinearCall call, int bits) {
  const bool has_bias = call.pieces[0].weight.has_bias != 0;
  const int pairs = (call.tile_count + 1) / 2;
  const int columns = (call.rows + kSplitWidth - 1) / kSplitWidth;
  queue.launch(bits == 4 ? split_kernel_4(has_bias) : split_kernel_8(has_bias),
               {dim3(static_cast<unsigned>(std::min(
                    device.processors, pairs * columns * call.k_parts))),
                kWideThreads, WideRing(bits, kSplitWidth).shared_bytes()},
               call);
  const LinearPiece& piece = call.pieces[0];
  const JoinCall join = {
      call.partials, piece.out,
      slots_of(range_count(call.input.k_tiles), call.k_parts), call.rows,
      piece.weight.rows};
  launch_join(queue, join);
  return join;
}

// Of the code that the present device would run.
cudaError_t query_code(cudaFuncAttributes& code) noexcept {
  return cudaFuncGetAttributes(
      &code,
      reinterpret_cast<const void*>(wide_kernel_4(kWidths[0], false, false)));
}

bool has_wgmma_kernels(const cudaFuncAttributes& code) {
  return code.binaryVersion == 90 && code.maxThreadsPerBlock > 0 &&
         code.numRegs > kLeastWideRegisters;
}

}  // namespace

WideSplit plan_wide_split(const DeviceTraits& device, const LinearCall& call,
                          bool gated) {
  // Reading the sums again, and starting the kernel that does.
  constexpr int64_t kJoinCycles = 4000;
  constexpr int64_t kJoinBytes = 2500;  // a cycle
  const int ranges = range_count(call.input.k_tiles);
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
    const int64_t most_tiles =
        (ranges + parts - 1) / parts * range_tiles(call.input.k_tiles);
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

JoinCall launch_linear_wide(LaunchQueue& queue, const DeviceTraits& device,
                            LinearCall call, int bits, bool gated) {
  if (call.k_parts > 1) return launch_split(queue, device, call, bits);
  const int pairs = gated ? call.tile_count : (call.tile_count + 1) / 2;
  const int width = best_width(call, pairs, device.processors);
  const int columns = (call.rows + width - 1) / width;
  const bool has_bias = call.pieces[0].weight.has_bias != 0;
  const WideKernel kernel = bits == 4 ? wide_kernel_4(width, gated, has_bias)
                                      : wide_kernel_8(width, gated, has_bias);
  queue.launch(kernel,
               {dim3(static_cast<unsigned>(
                    std::min(device.processors, pairs * columns))),
                kWideThreads, WideRing(bits, width).shared_bytes()},
               call);
  return {};
}

bool wide_supports(const LinearCall& call) {
  for (int i = 0; i < call.piece_count; ++i) {
    const WeightTiles& weight = call.pieces[i].weight;
    if (weight.has_bias != call.pieces[0].weight.has_bias) return false;
    if (weight.bits == 4 && weight.steps_per_group < 2) return false;
  }
  return true;
}

cudaError_t code_status() noexcept {
  cudaFuncAttributes code;
  const cudaError_t status = query_code(code);
  cudaGetLastError();
  return status;
}

DeviceTraits read_traits(const cudaDeviceProp& properties) {
  cudaFuncAttributes code;
  check(query_code(code), "looking for code for this device");
  DeviceTraits traits;
  traits.processors = properties.multiProcessorCount;
  traits.shared_bytes = static_cast<int>(properties.sharedMemPerBlockOptin);
  traits.has_wgmma = properties.major == 9 && has_wgmma_kernels(code);
  // Code for an older target, compiled again by the driver, has neither.
  traits.overlaps =
      properties.major >= 9 && (traits.has_wgmma || code.ptxVersion >= 90);
  traits.has_clusters = traits.overlaps && properties.major == 9;
  return traits;
}

}  // namespace carat::cuda
