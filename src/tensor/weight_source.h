// Where a backend reads a weight matrix from while it packs it.
#ifndef CARAT_TENSOR_WEIGHT_SOURCE_H_
#define CARAT_TENSOR_WEIGHT_SOURCE_H_

#include <cstdint>

#include "tensor/quantized_matrix.h"

namespace carat {

/// A weight matrix [rows = N outputs, cols = K inputs] that can be read a few
/// rows at a time, so that packing streams: nothing is ever held unpacked but
/// the rows in work. Immutable; reads are thread-safe and do not throw.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  /// The codes' layout, the same for every row.
  const QuantizedLayout& layout() const { return layout_; }

  /// Rows [first, first + count) as codes. `out` is resized as needed; reusing
  /// one object across calls avoids allocations. Dense sources (F32, F16,
  /// BF16) are quantised here: 8 bits, groups of 32, zero point 128.
  virtual void read(int64_t first, int64_t count,
                    QuantizedMatrix& out) const = 0;

  /// The same rows as exact f32 numbers, row-major [count, cols]: dense sources
  /// as stored, quantised ones dequantised as their format defines.
  virtual void read_f32(int64_t first, int64_t count, float* out) const = 0;

 protected:
  WeightSource(int64_t rows, int64_t cols, QuantizedLayout layout)
      : rows_(rows), cols_(cols), layout_(layout) {}

 private:
  int64_t rows_;
  int64_t cols_;
  QuantizedLayout layout_;
};

}  // namespace carat

#endif  // CARAT_TENSOR_WEIGHT_SOURCE_H_
