// How linear_small cuts a call, and what that takes of shared memory.
#ifndef CARAT_BACKEND_CUDA_LINEAR_SMALL_H_
#define CARAT_BACKEND_CUDA_LINEAR_SMALL_H_

#include "backend/cuda/kernels.h"

namespace carat::cuda {

/// Warps of a thread block at most; gated: for each of the two.
inline constexpr int kMostWarps = 5;
/// 16 of zeros stand for rows that are not.
inline constexpr int kZeroBytes = 128;

/// Thread blocks that a slice of `ranges` is shared by.
int best_small_parts(const DeviceTraits& device, int ranges);

/// For `tile_rows` rows a pass and `halves` slices a thread block (2: gated),
/// with as many warps as `shared_bytes` have room for, at least one: the bytes
/// it takes may be more then.
SmallLayout small_layout(const LinearCall& call, int halves, int tile_rows,
                         int shared_bytes);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_SMALL_H_
