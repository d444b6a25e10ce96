#include "backend/cuda/linear_launcher.h"

#include "backend/cuda/packing.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

/// From this many rows on the wide kernels are faster.
constexpr int64_t kWideRows = 33;

// Weights of the same width, with biases or without, share a launch.
constexpr int kLinearKinds = 4;
int kind_of(const WeightTiles& tiles) {
  return (tiles.bits == 8 ? 2 : 0) + tiles.has_bias;
}

const WeightTiles& tiles_of(const LinearOutput& output) {
  return static_cast<const CudaMatrix&>(*output.weight).tiles();
}

LinearCall begin_call(const CudaInput& input) {
  LinearCall call = {};
  call.input = input.slab();
  call.rows = static_cast<int32_t>(input.rows);
  return call;
}

}  // namespace

JoinCall LinearLauncher::linear(const CudaInput& input,
                                std::span<const LinearOutput> outputs) {
  bool is_there[kLinearKinds] = {};
  for (const LinearOutput& output : outputs) {
    is_there[kind_of(tiles_of(output))] = true;
  }
  JoinCall join = {};
  for (int kind = 0; kind < kLinearKinds; ++kind) {
    if (is_there[kind]) join = launch_kind(input, outputs, kind);
  }
  return join;
}

// Those of the outputs whose weights are of this kind: at least one.
JoinCall LinearLauncher::launch_kind(const CudaInput& input,
                                     std::span<const LinearOutput> outputs,
                                     int kind) {
  LinearCall call = begin_call(input);
  const auto launch_pieces = [&] {
    return launch(call, call.pieces[0].weight.bits, false);
  };
  for (const LinearOutput& output : outputs) {
    const WeightTiles& tiles = tiles_of(output);
    if (kind_of(tiles) != kind) continue;
    if (call.piece_count == kMostPieces) {
      launch_pieces();
      call = begin_call(input);
    }
    call.pieces[call.piece_count++] = {
        tiles, {output.output.data, output.output.stride}, call.tile_count};
    call.tile_count += static_cast<int32_t>(tile_row_count(tiles));
  }
  return launch_pieces();
}

void LinearLauncher::gated(const CudaInput& input, const WeightTiles& gates,
                           const WeightTiles& ups, Activation activation,
                           const ActivationSlab& out) {
  LinearCall call = begin_call(input);
  call.pieces[0].weight = gates;
  call.pieces[1].weight = ups;
  call.piece_count = 2;
  call.tile_count = static_cast<int32_t>(tile_row_count(gates));
  call.is_silu = activation == Activation::kSilu ? 1 : 0;
  call.gated_out = out;
  launch(call, gates.bits == ups.bits ? gates.bits : kMixedBits, true);
}

JoinCall LinearLauncher::launch(LinearCall call, int bits, bool gated) {
  if (call.rows < kWideRows || !traits_.has_wgmma || bits == kMixedBits ||
      !wide_supports(call)) {
    launch_linear_small(*queue_, traits_, call, bits, gated);
    return {};
  }
  WidePlans& plans = queue_->uses_lanes() ? lane_plans_ : plans_;
  const WidePlan plan = plans.of(call, gated);
  if (plan.k_parts > 1) {
    call.partials = {room_.fit(plan.partial_bytes),
                     round_up(call.pieces[0].weight.rows, 4)};
  }
  return launch_linear_wide(*queue_, traits_, call, plan, bits, gated);
}

}  // namespace carat::cuda
