// MLX's affine codes: w = scale * code + bias for each group of a row.
#ifndef CARAT_QUANT_AFFINE_SOURCE_H_
#define CARAT_QUANT_AFFINE_SOURCE_H_

#include <memory>

#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// A source over a tensor of an affine encoding. A row's codes of 2, 3, 4, 5, 6
/// or 8 bits are one little-endian bit stream, lowest bits first; scales and
/// biases are F32, F16 or BF16, a pair for each group of 32, 64 or 128.
/// Throws: Error{kCorrupt} if the scales or biases are not as long as rows and
/// groups ask for, Error{kUnsupported} for another group or number type.
/// Source: MLX 0.32 (mlx/ops.cpp, affine_quantize).
std::unique_ptr<WeightSource> make_affine_source(const RawTensor& tensor);

}  // namespace carat

#endif  // CARAT_QUANT_AFFINE_SOURCE_H_
