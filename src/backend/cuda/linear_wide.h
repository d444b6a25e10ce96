// Shared memory of the wide linear kernels, and their choice.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_H_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_H_

#include "backend/cuda/kernels.h"

#ifdef __CUDACC__
#define CARAT_HOST_DEVICE __host__ __device__
#else
#define CARAT_HOST_DEVICE
#endif

namespace carat::cuda {

inline constexpr int kMostStages = 8;
/// Barriers of the stages, then room up to wgmma's alignment.
inline constexpr int kBarrierBytes = 1024;

struct WideLayout {
  int weight_bytes;  ///< of one tile, the largest of the call's weights
  int stage_bytes;
};

CARAT_HOST_DEVICE inline WideLayout wide_layout(const LinearCall& call,
                                                int width, bool gated) {
  const int pieces = gated ? 2 : call.piece_count;
  int weight_bytes = 0;
  for (int i = 0; i < pieces; ++i) {
    const int bytes = kSlices * call.pieces[i].weight.slice_bytes;
    if (bytes > weight_bytes) weight_bytes = bytes;
  }
  // A swizzled tile starts at a multiple of 1024 bytes.
  const int stage = width * 128 + 2 * weight_bytes;
  return {weight_bytes, (stage + 1023) / 1024 * 1024};
}

using WideKernel = void (*)(LinearCall);
/// The kernel for 4- or 8-bit weights, or null where there is none.
WideKernel wide_kernel_4(int width, bool gated);
WideKernel wide_kernel_8(int width, bool gated);

/// The same with K split among thread blocks; plain outputs alone.
inline constexpr int kSplitWidth = 64;
WideKernel split_kernel_4();
WideKernel split_kernel_8();

/// The widths there are kernels for.
inline constexpr int kWidths[] = {48, 64, 80, 104, 128, 152, 160};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_H_
