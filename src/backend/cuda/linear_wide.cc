// Launches wide linear layers; and whether the device has code for them.
#include "backend/cuda/linear_wide.h"

#include <algorithm>

#include "backend/cuda/device_error.h"
#include "backend/cuda/linear_wide_plan.h"

namespace carat::cuda {
namespace {

// Built for another target than sm_90a, the kernels are empty.
constexpr int kLeastWideRegisters = 64;

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

JoinCall launch_linear_wide(LaunchQueue& queue, const DeviceTraits& device,
                            LinearCall call, const WidePlan& plan, int bits,
                            bool gated) {
  call.k_parts = plan.k_parts;
  call.lets_next_start_late = plan.lets_next_start_late ? 1 : 0;
  const int works = WideCut(call, plan.width, gated).works;
  const LinearPiece& piece = call.pieces[0];
  const bool has_bias = piece.weight.has_bias != 0;
  queue.launch(bits == 4 ? wide_kernel_4(plan.width, gated, has_bias)
                         : wide_kernel_8(plan.width, gated, has_bias),
               {dim3(static_cast<unsigned>(std::min(device.processors, works))),
                kWideThreads, WideRing(bits, plan.width).shared_bytes()},
               call);
  if (call.k_parts == 1) return {};
  const JoinCall join = {
      call.partials, piece.out,
      slots_of(range_count(call.input.k_tiles), call.k_parts), call.rows,
      piece.weight.rows};
  launch_join(queue, join);
  return join;
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
