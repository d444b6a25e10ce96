// Weights in the tiles the kernels read.
#ifndef CARAT_BACKEND_CPU_PACKED_MATRIX_H_
#define CARAT_BACKEND_CPU_PACKED_MATRIX_H_

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"
#include "backend/cpu/weight_memory.h"
#include "base/thread_pool.h"

namespace carat::cpu {

/// A weight matrix [N, K] as WeightTiles. Immutable; thread-safe.
class CpuMatrix : public PackedMatrix {
 public:
  /// Reads `source` tile by tile, on all threads of `pool`, into a piece of
  /// `memory`.
  /// Throws: Error{kInvalidArgument} for a layout or shape out of range,
  /// Error{kOutOfMemory}.
  CpuMatrix(const WeightSource& source, ThreadPool& pool, WeightMemory& memory);

  int64_t bytes() const override { return bytes_; }
  /// What a matrix of this shape and layout keeps. Throws: as above.
  static int64_t bytes_of(int64_t rows, int64_t cols,
                          const QuantizedLayout& layout);
  const WeightTiles& tiles() const { return tiles_; }
  int64_t tile_count() const { return (rows() + kTile - 1) / kTile; }

 private:
  WeightPiece piece_;
  int64_t bytes_;
  WeightTiles tiles_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_PACKED_MATRIX_H_
