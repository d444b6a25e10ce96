// Weights in the tiles the kernels read.
#ifndef CARAT_BACKEND_CPU_PACKED_MATRIX_H_
#define CARAT_BACKEND_CPU_PACKED_MATRIX_H_

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"

namespace carat::cpu {

/// A weight matrix [N, K] as WeightTiles. Immutable; thread-safe.
class CpuMatrix : public PackedMatrix {
 public:
  /// Reads `source` tile by tile, on all threads of `pool`.
  /// Throws: Error{kInvalidArgument} for a layout or shape out of range,
  /// Error{kOutOfMemory}.
  CpuMatrix(const WeightSource& source, ThreadPool& pool);

  int64_t bytes() const override;
  /// What a matrix of this shape and layout keeps. Throws: as above.
  static int64_t bytes_of(int64_t rows, int64_t cols,
                          const QuantizedLayout& layout);
  const WeightTiles& tiles() const { return tiles_; }
  int64_t tile_count() const { return (rows() + kTile - 1) / kTile; }

 private:
  AlignedBuffer tile_memory_;
  AlignedBuffer factors_;
  WeightTiles tiles_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_PACKED_MATRIX_H_
