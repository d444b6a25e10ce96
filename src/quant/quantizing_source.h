// Quantises a matrix while it is read.
#ifndef CARAT_QUANT_QUANTIZING_SOURCE_H_
#define CARAT_QUANT_QUANTIZING_SOURCE_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// Group of the MLX encodings that carat writes.
inline constexpr int kMlxGroup = 64;

/// Rows of an encoded matrix and the memory they lie in.
struct EncodedRows {
  std::vector<std::byte> data;    ///< blocks, or an affine encoding's codes
  std::vector<std::byte> scales;  ///< of affine encodings alone, BF16
  std::vector<std::byte> biases;

  /// A view of them as a tensor.
  RawTensor tensor(Encoding encoding, int64_t rows, int64_t cols) const;
  /// Whether every number read from them is finite: large ones leave the range
  /// of an encoding's scales.
  bool is_finite(Encoding encoding) const;
};

/// Whether rows of `cols` numbers can be encoded: whole blocks (groups of
/// kMlxGroup) of an encoding that is written.
bool can_encode(Encoding encoding, int64_t cols);

/// Reads rows [first, first + count) of `source` and encodes them, on the
/// calling thread; `values` is scratch.
void encode_rows(const WeightSource& source, int64_t first, int64_t count,
                 Encoding encoding, std::vector<float>& values,
                 EncodedRows& out);

/// What a file with the matrix in `encoding` would read as: every read encodes
/// the rows of `source` and decodes them again.
/// Throws: Error{kUnsupported} unless can_encode.
std::unique_ptr<WeightSource> make_quantizing_source(
    std::unique_ptr<WeightSource> source, Encoding encoding);

}  // namespace carat

#endif  // CARAT_QUANT_QUANTIZING_SOURCE_H_
