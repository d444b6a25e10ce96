// How linear_small cuts a call, and what that takes of shared memory.
#ifndef CARAT_BACKEND_CUDA_LINEAR_SMALL_H_
#define CARAT_BACKEND_CUDA_LINEAR_SMALL_H_

#include "backend/cuda/kernels.h"

namespace carat::cuda {

/// Warps of a thread block at most; of two halves (gated): for each.
constexpr int most_warps(int halves) { return halves == 1 ? 10 : 5; }
/// The same in threads, of all halves.
inline constexpr int kMostThreads = 320;
/// For how many thread blocks of so many a multiprocessor keeps registers, if
/// they take up to `tile_rows` rows.
constexpr int resident_blocks(int tile_rows, int halves) {
  if (tile_rows > 8) return halves;
  return halves == 1 ? 2 : tile_rows > 1 ? 3 : 4;
}
/// 16 of zeros stand for rows that are not.
inline constexpr int kZeroBytes = 128;

/// Thread blocks that share a slice, `halves` slices each (2: gated).
int best_small_parts(const DeviceTraits& device, LinearCall call, int halves);

/// For `tile_rows` rows a pass and `halves` slices a thread block (2: gated),
/// with as many warps as `shared_bytes` have room for, at least one: the bytes
/// it takes may be more then.
SmallLayout small_layout(const LinearCall& call, int halves, int tile_rows,
                         int shared_bytes);

/// Slices at work at once, of all thread blocks that registers and shared
/// memory have room for.
int slices_at_once(const DeviceTraits& device, const LinearCall& call,
                   int halves, int tile_rows, const SmallLayout& layout);

/// Whether thread blocks take slices in turn: where that is many turns for
/// `at_once` slices and all ranges are at work at once. Else `layout` stays as
/// it is.
bool take_turns(const DeviceTraits& device, const LinearCall& call, int halves,
                int at_once, SmallLayout& layout);

/// Of how many slices, if `at_once` are, the thread blocks are there long
/// before their turn. A long K follows a gated layer, which leaves it no room
/// before.
int count_early(const LinearCall& call, int halves, int at_once);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_SMALL_H_
