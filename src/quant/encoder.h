// f32 numbers -> a file's encodings: what the decoders read.
#ifndef CARAT_QUANT_ENCODER_H_
#define CARAT_QUANT_ENCODER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/encoding.h"

namespace carat {

/// Whether encode_blocks writes `encoding`: F32, F16, BF16, Q4_0, Q5_0, Q5_1,
/// Q8_0, Q4_K, Q5_K and Q6_K.
bool has_block_encoder(Encoding encoding);

/// Encodes whole blocks; `out` has room for them. Numbers of one block depend
/// on nothing outside it. A block that holds an infinity or a NaN, or numbers
/// too large for its scale, becomes NaN as a whole. Thread-safe.
/// Throws: Error{kUnsupported} for an encoding without an encoder.
void encode_blocks(Encoding encoding, std::span<const float> values,
                   std::byte* out);

/// MLX's affine codes of `bits` (4 or 8) for whole groups of `group` numbers,
/// with BF16 scales and biases, one each a group. Thread-safe; not finite: as
/// encode_blocks.
void encode_affine(int bits, int group, std::span<const float> values,
                   std::byte* codes, std::byte* scales, std::byte* biases);

}  // namespace carat

#endif  // CARAT_QUANT_ENCODER_H_
