// Calls of wide linear layers, to be planned without a device.
#ifndef CARAT_TESTS_CUDA_WIDE_CALL_H_
#define CARAT_TESTS_CUDA_WIDE_CALL_H_

#include "backend/cuda/kernels.h"
#include "backend/cuda/packing.h"

namespace carat::cuda {

inline DeviceTraits h100() {
  DeviceTraits device;
  device.processors = 132;
  return device;
}

// Of one piece, 4-bit weights.
inline LinearCall wide_call(int rows, int64_t outputs, int64_t cols) {
  LinearCall call = {};
  call.rows = rows;
  call.piece_count = 1;
  call.pieces[0].weight = plan_tiles(outputs, cols, {4, 32, 8, false});
  call.tile_count = static_cast<int32_t>(tile_row_count(call.pieces[0].weight));
  call.input.k_tiles = call.pieces[0].weight.k_tiles;
  return call;
}

}  // namespace carat::cuda

#endif  // CARAT_TESTS_CUDA_WIDE_CALL_H_
