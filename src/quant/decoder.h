// Raw encodings -> QuantizedMatrix rows: one small decoder per encoding.
#ifndef CARAT_QUANT_DECODER_H_
#define CARAT_QUANT_DECODER_H_

#include <memory>
#include <vector>

#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// A source over `tensor`, which must outlive it (as must the file mapping).
/// Throws: Error{kUnsupported} for an encoding without a decoder,
/// Error{kCorrupt} for a tensor that is not a matrix of whole blocks.
std::unique_ptr<WeightSource> make_weight_source(const RawTensor& tensor);

/// All numbers of a small tensor (a norm's weights) as f32, row-major, its
/// addend added.
/// Throws: as make_weight_source.
std::vector<float> read_all_f32(const RawTensor& tensor);

}  // namespace carat

#endif  // CARAT_QUANT_DECODER_H_
