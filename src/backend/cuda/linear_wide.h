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

/// The widths there are kernels for.
inline constexpr int kWidths[] = {24, 32, 48, 64, 72, 104, 128, 152, 160};

/// What a thread block does at a time.
struct WideWork {
  int pair, row;   ///< two tiles of 64 outputs, or a gate and an up; first row
  int begin, end;  ///< k tiles: all, or some ranges of them
};

/// The works of a call, numbered.
struct WideCut {
  int width, columns, works;

  CARAT_HOST_DEVICE constexpr WideCut(const LinearCall& call, int of_width,
                                      bool gated)
      : width(of_width),
        columns((call.rows + width - 1) / width),
        works((gated ? call.tile_count : (call.tile_count + 1) / 2) * columns *
              call.k_parts) {}

  CARAT_HOST_DEVICE constexpr WideWork at(const LinearCall& call,
                                          int work) const {
    // The usual case, with few divisions: every thread asks.
    if (call.k_parts == 1) {
      return {work / columns, work % columns * width, 0, call.input.k_tiles};
    }
    const int tile = work / call.k_parts, part = work % call.k_parts;
    const int length = range_tiles(call.input.k_tiles);
    const int end = length * first_range(call, part + 1);
    return {tile / columns, tile % columns * width,
            length * first_range(call, part),
            end < call.input.k_tiles ? end : call.input.k_tiles};
  }
  static CARAT_HOST_DEVICE constexpr int first_range(const LinearCall& call,
                                                     int part) {
    return range_count(call.input.k_tiles) * part / call.k_parts;
  }
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_H_
