// F32, F16 and BF16 matrices: read as they are, or quantised on the way.
#ifndef CARAT_QUANT_DENSE_SOURCE_H_
#define CARAT_QUANT_DENSE_SOURCE_H_

#include <memory>

#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// A source over a dense tensor; null for a quantised one. Codes are made
/// symmetrically: for each group of 32 (the last of a row may be shorter)
/// scale = max |w| / 127, code = 128 + w / scale rounded to nearest even, so in
/// 1..255. A group that holds an infinity or a NaN becomes NaN as a whole.
std::unique_ptr<WeightSource> make_dense_source(const RawTensor& tensor);

}  // namespace carat

#endif  // CARAT_QUANT_DENSE_SOURCE_H_
