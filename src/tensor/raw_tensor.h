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

/// What an affine encoding keeps beside its codes: w = scale * code + bias for
/// each `group` of a row.
struct AffineGroups {
  int group = 0;
  Encoding encoding = Encoding::kF32;  ///< of both: F32, F16 or BF16
  std::span<const std::byte> scales;   ///< [rows, cols / group]
  std::span<const std::byte> biases;   ///< likewise
};

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
  /// Of affine encodings only.
  AffineGroups affine = {};
  /// To be added to every number of a vector: Gemma's norms are stored less 1
  /// in some files.
  float addend = 0;
  /// Of matrices whose rows lie in heads of so many, each as pairs (0, d/2, 1,
  /// d/2 + 1, ...); who reads the tensor gets them in order. 0: they are.
  int64_t paired_head_rows = 0;

  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
  /// What it takes of the file.
  int64_t bytes() const {
    return static_cast<int64_t>(data.size() + affine.scales.size() +
                                affine.biases.size());
  }
};

}  // namespace carat

#endif  // CARAT_TENSOR_RAW_TENSOR_H_
