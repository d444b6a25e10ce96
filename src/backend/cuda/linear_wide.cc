// Chooses the tile of a wide linear launch. Bits do not depend on it.
#include "backend/cuda/linear_wide.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/device_error.h"

namespace carat::cuda {
namespace {

// What a tile costs, in cycles: a k tile takes the tensor cores 4 a column, but
// expanding its weights takes a while too; then filling the pipeline, storing.
constexpr int64_t kColumnCycles = 4;
constexpr int64_t kExpandCycles = 240;
constexpr int64_t kTileCycles = 1500;
constexpr int64_t kStoreCycles = 8;  // a column
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

}  // namespace

void launch_linear_wide(LaunchQueue& queue, const DeviceTraits& device,
                        LinearCall call, int bits, bool gated) {
  const int pairs = gated ? call.tile_count : (call.tile_count + 1) / 2;
  const int width = best_width(call, pairs, device.processors);
  const int columns = (call.rows + width - 1) / width;
  const WideLayout layout = wide_layout(call, width, gated);
  call.stages = std::min(
      kMostStages, (device.shared_bytes - kBarrierBytes) / layout.stage_bytes);
  const WideKernel kernel =
      bits == 4 ? wide_kernel_4(width, gated) : wide_kernel_8(width, gated);
  constexpr int kThreads = 384;
  queue.launch(kernel,
               {dim3(static_cast<unsigned>(
                    std::min(device.processors, pairs * columns))),
                kThreads, kBarrierBytes + call.stages * layout.stage_bytes},
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
