// Turns quantised rows into the tiles of weight_format.h, on the host.
#ifndef CARAT_BACKEND_CUDA_PACKING_H_
#define CARAT_BACKEND_CUDA_PACKING_H_

#include <cstdint>

#include "backend/cuda/weight_format.h"
#include "tensor/weight_source.h"

namespace carat::cuda {

/// The tiles (without data) of a matrix [rows, cols] of this layout: 2 to 4
/// bits become 4, 5 to 8 become 8; biases are kept where the layout has them,
/// and made where codes less their zero point do not fit 4 or 8 signed bits.
/// Throws: Error{kInvalidArgument} for a layout that is none.
WeightTiles plan_tiles(int64_t rows, int64_t cols,
                       const QuantizedLayout& layout);

/// Bytes of one row of tiles, 64 outputs over all K.
constexpr int64_t tile_row_bytes(const WeightTiles& tiles) {
  return int64_t{kSlices} * tiles.slice_bytes * tiles.k_tiles;
}
constexpr int64_t tile_row_count(const WeightTiles& tiles) {
  return (tiles.rows + kTileRows - 1) / kTileRows;
}

/// Packs the outputs [64 * tile_row, + 64) of `source` into `out`, which has
/// tile_row_bytes(). `scratch` is reused from call to call. Throws:
/// Error{kUnsupported} for a scale of 2^26 or more.
void pack_tile_row(const WeightSource& source, const WeightTiles& tiles,
                   int64_t tile_row, QuantizedMatrix& scratch, uint8_t* out);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_PACKING_H_
