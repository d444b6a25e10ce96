// Shared memory of the wide linear kernels, and their choice.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_H_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_H_

#include "backend/cuda/kernels.h"

namespace carat::cuda {

/// Two warpgroups multiply, one feeds them.
inline constexpr int kMultiplyThreads = 256;
inline constexpr int kWideThreads = 384;
/// Barriers of the stages, then room up to wgmma's alignment.
inline constexpr int kBarrierBytes = 1024;
inline constexpr int kRingBytes = 226 * 1024;

/// The ring of a kernel: a stage holds the activations of `width` rows and two
/// weight tiles, for 64 k. A block of k tiles is a whole number of rounds, so
/// that what lies where is known when the kernel is compiled.
struct WideRing {
  int weight_bytes;  ///< room for a tile
  int stage_bytes;
  int stages;

  constexpr WideRing(int bits, int width)
      : weight_bytes(kSlices * slice_bytes_of(bits, bits / 2, true)),
        // A swizzled tile starts at a multiple of 1024 bytes.
        stage_bytes((width * 128 + 2 * weight_bytes + 1023) / 1024 * 1024),
        stages(kBlockTiles * stage_bytes <= kRingBytes ? kBlockTiles
                                                       : kBlockTiles / 2) {}
  constexpr int shared_bytes() const {
    return kBarrierBytes + stages * stage_bytes;
  }
};

using WideKernel = void (*)(LinearCall);
/// The kernel for 4- or 8-bit weights, or null where there is none.
WideKernel wide_kernel_4(int width, bool gated, bool has_bias);
WideKernel wide_kernel_8(int width, bool gated, bool has_bias);

/// The same with K split among thread blocks; plain outputs alone.
inline constexpr int kSplitWidth = 64;
WideKernel split_kernel_4(bool has_bias);
WideKernel split_kernel_8(bool has_bias);

/// The widths there are kernels for.
inline constexpr int kWidths[] = {48, 64, 80, 104, 128, 152, 160};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_H_
