// Matrices whose heads' rows lie as pairs, read in order.
#ifndef CARAT_QUANT_PAIRED_ROWS_SOURCE_H_
#define CARAT_QUANT_PAIRED_ROWS_SOURCE_H_

#include <memory>

#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// A source over a tensor with `paired_head_rows`, whose shape and size have
/// been checked: of each head of d rows, row j * d/2 + i is the stored
/// 2 * i + j. Throws: Error{kCorrupt} if rows are not whole heads of even size.
std::unique_ptr<WeightSource> make_paired_rows_source(const RawTensor& tensor);

}  // namespace carat

#endif  // CARAT_QUANT_PAIRED_ROWS_SOURCE_H_
