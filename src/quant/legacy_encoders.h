// Encoders of ggml's first block formats, 32 numbers each.
#ifndef CARAT_QUANT_LEGACY_ENCODERS_H_
#define CARAT_QUANT_LEGACY_ENCODERS_H_

#include <cstddef>

namespace carat {

/// One block of 32 finite numbers; false if its scale is beyond f16.
/// The scale comes of the number of largest magnitude, which gets the code of
/// the longer side of the range (Q4_0, Q5_0), of the largest magnitude alone
/// (Q8_0), or with the minimum of the range (Q5_1).
/// Source: the definitions of the formats (ggml-common.h); scales are chosen as
/// ggml's reference quantisers do.
bool encode_q4_0(const float* values, std::byte* block);
bool encode_q5_0(const float* values, std::byte* block);
bool encode_q5_1(const float* values, std::byte* block);
bool encode_q8_0(const float* values, std::byte* block);

}  // namespace carat

#endif  // CARAT_QUANT_LEGACY_ENCODERS_H_
