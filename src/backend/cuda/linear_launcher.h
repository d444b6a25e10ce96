// Which kernels a linear layer is launched with.
#ifndef CARAT_BACKEND_CUDA_LINEAR_LAUNCHER_H_
#define CARAT_BACKEND_CUDA_LINEAR_LAUNCHER_H_

#include <memory>
#include <span>
#include <utility>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/linear_wide_plan.h"
#include "backend/cuda/partial_room.h"

namespace carat::cuda {

/// Takes checked arguments. Not thread-safe.
class LinearLauncher {
 public:
  /// `room` must outlive it.
  LinearLauncher(std::shared_ptr<LaunchQueue> queue, const DeviceTraits& traits,
                 PartialRoom& room)
      : queue_(std::move(queue)),
        traits_(traits),
        room_(room),
        plans_(traits, PartialRoom::kMostBytes),
        lane_plans_(traits, PartialRoom::kMostLaneBytes, true) {}

  /// As Backend::linear, of at least one row. Returns the join that was
  /// launched last, if any (slots 0: none).
  JoinCall linear(const CudaInput& input,
                  std::span<const LinearOutput> outputs);
  /// As Backend::gated_linear, of at least one row.
  void gated(const CudaInput& input, const WeightTiles& gates,
             const WeightTiles& ups, Activation activation,
             const ActivationSlab& out);

 private:
  JoinCall launch_kind(const CudaInput& input,
                       std::span<const LinearOutput> outputs, int kind);
  JoinCall launch(LinearCall call, int bits, bool gated);

  std::shared_ptr<LaunchQueue> queue_;
  DeviceTraits traits_;
  PartialRoom& room_;
  WidePlans plans_, lane_plans_;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_LAUNCHER_H_
