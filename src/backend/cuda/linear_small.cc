// Chooses the cut of a small linear launch. Bits do not depend on it.
#include "backend/cuda/linear_small.h"

#include <algorithm>

namespace carat::cuda {
namespace {

// Zeros, activations of the ranges in work, weights of each warp, partial sums
// [kept slice][half][range][row][n] (those of the cluster's first block are
// used).
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
  layout.at_once = call.tile_count * kSlices;
  layout.kept = 1;
  layout.bytes =
      layout.partials_at + halves * layout.ranges * tile_rows * kSliceRows * 4;
  return layout;
}

// Thread blocks of `bytes` of shared memory that a multiprocessor has room for.
int fitting(const DeviceTraits& device, int bytes) {
  constexpr int kReserved = 1024;  // for each
  return (device.shared_bytes + kReserved) / (bytes + kReserved);
}

}  // namespace

SmallLayout small_layout(const LinearCall& call, int halves, int tile_rows,
                         int shared_bytes) {
  const int ranges = range_count(call.input.k_tiles);
  const int per_block = (ranges + call.parts - 1) / call.parts;
  int rounds = (per_block + most_warps(halves) - 1) / most_warps(halves);
  SmallLayout layout = layout_of(call, halves, tile_rows, rounds);
  while (layout.bytes > shared_bytes && layout.warps > 1) {
    layout = layout_of(call, halves, tile_rows, ++rounds);
  }
  return layout;
}

// The smallest power of two, up to 8, that gives every range a warp at once: a
// second round asks for its weights only when the first is done. More where
// there are fewer slices than multiprocessors, and many ranges. The last ones
// may be left without a range.
int best_small_parts(const DeviceTraits& device, LinearCall call, int halves) {
  if (!device.has_clusters) return 1;
  constexpr int kMostParts = 8;  // a cluster's thread blocks everywhere
  constexpr int kManyRanges = 5;
  const int tile_rows = call.rows == 1 ? 1 : 8;
  for (call.parts = 1; call.parts < kMostParts; call.parts *= 2) {
    const SmallLayout layout =
        small_layout(call, halves, tile_rows, device.shared_bytes);
    const bool has_rounds = layout.warps < layout.per_block;
    const bool leaves_processors =
        call.tile_count * kSlices * call.parts < device.processors;
    if (!has_rounds && !(leaves_processors && layout.per_block > kManyRanges)) {
      break;
    }
  }
  return call.parts;
}

int slices_at_once(const DeviceTraits& device, const LinearCall& call,
                   int halves, int tile_rows, const SmallLayout& layout) {
  const int threads = 32 * layout.warps * halves;
  const int by_registers =
      resident_blocks(tile_rows, halves) * kMostThreads / threads;
  const int blocks = std::min(by_registers, fitting(device, layout.bytes));
  return device.processors * blocks / call.parts;
}

bool take_turns(const DeviceTraits& device, const LinearCall& call, int halves,
                int at_once, SmallLayout& layout) {
  constexpr int kMostKept = 8;
  const int few_turns = halves == 1 ? 4 : 2;
  // Whole tiles: a thread block's next slice lies like the one before.
  at_once = at_once / kSlices * kSlices;
  // A range in work keeps its place for all slices.
  const bool has_rounds = layout.warps < layout.per_block;
  const int slices = call.tile_count * kSlices;
  if (has_rounds || at_once == 0 || slices <= few_turns * at_once) return false;
  layout.at_once = at_once;
  const int blocks = fitting(device, layout.bytes);
  const int slice = layout.bytes - layout.partials_at;
  while (layout.kept < kMostKept &&
         fitting(device, layout.bytes + slice) >= blocks) {
    layout.bytes += slice;
    ++layout.kept;
  }
  return true;
}

int count_early(const LinearCall& call, int halves, int at_once) {
  const int slices = call.tile_count * kSlices;
  if (halves == 2)
    return slices > at_once && slices <= 2 * at_once ? at_once : 0;
  const bool is_short = call.input.k_tiles <= kLongTiles;
  return call.parts == 1 && is_short && slices <= at_once ? slices : 0;
}

}  // namespace carat::cuda
