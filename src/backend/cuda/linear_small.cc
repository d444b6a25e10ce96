// Chooses the cut of a small linear launch. Bits do not depend on it.
#include "backend/cuda/linear_small.h"

#include <algorithm>

namespace carat::cuda {
namespace {

// Zeros, activations of the ranges in work, weights of each warp, partial sums
// [half][range][row][n] (those of the cluster's first block are used).
SmallLayout layout_of(const LinearCall& call, int halves, int tile_rows,
                      int rounds) {
  SmallLayout layout = {};
  const int range_length = range_tiles(call.input.k_tiles);
  layout.ranges = range_count(call.input.k_tiles);
  layout.per_block = (layout.ranges + call.parts - 1) / call.parts;
  layout.warps = (layout.per_block + rounds - 1) / rounds;
  for (int i = 0; i < call.piece_count; ++i) {
    layout.weight_bytes = std::max(
        layout.weight_bytes, range_length * call.pieces[i].weight.slice_bytes);
  }
  const int rows = std::min(call.rows, tile_rows);
  layout.activations_at = kZeroBytes;
  layout.weights_at =
      layout.activations_at + layout.warps * rows * range_length * 128;
  layout.partials_at =
      layout.weights_at + halves * layout.warps * layout.weight_bytes;
  layout.bytes =
      layout.partials_at + halves * layout.ranges * kSliceRows * tile_rows * 4;
  return layout;
}

}  // namespace

// The smallest power of two, up to 8, that gives every range a warp at once: a
// second round asks for its weights only when the first is done. The last ones
// may be left without a range.
int best_small_parts(const DeviceTraits& device, int ranges) {
  if (!device.has_clusters) return 1;
  constexpr int kMostParts = 8;  // a cluster's thread blocks everywhere
  int parts = 1;
  while (parts < kMostParts && (ranges + parts - 1) / parts > kMostWarps) {
    parts *= 2;
  }
  return parts;
}

SmallLayout small_layout(const LinearCall& call, int halves, int tile_rows,
                         int shared_bytes) {
  const int ranges = range_count(call.input.k_tiles);
  const int per_block = (ranges + call.parts - 1) / call.parts;
  int rounds = (per_block + kMostWarps - 1) / kMostWarps;
  SmallLayout layout = layout_of(call, halves, tile_rows, rounds);
  while (layout.bytes > shared_bytes && layout.warps > 1) {
    layout = layout_of(call, halves, tile_rows, ++rounds);
  }
  return layout;
}

}  // namespace carat::cuda
