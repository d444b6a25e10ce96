// A named tensor as it lies in a file: bytes, not numbers.
#ifndef CARAT_TENSOR_RAW_TENSOR_H_
#define CARAT_TENSOR_RAW_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/encoding.h"

namespace carat {

/// A view: `data` points into the file's mapping and lives as long as it. The
/// reader that made it has checked that `data` has exactly the bytes that
/// shape and encoding ask for, and that rows are whole blocks.
struct RawTensor {
  std::string name;
  Encoding encoding = Encoding::kF32;
  /// Outermost dimension first, as Hugging Face writes it: a matrix is
  /// [rows = outputs, cols = inputs]. One or two dimensions, each >= 1.
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
};

}  // namespace carat

#endif  // CARAT_TENSOR_RAW_TENSOR_H_
