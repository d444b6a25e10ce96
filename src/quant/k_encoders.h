// Encoders of ggml's K-quants: 256 numbers in groups of 16 or 32.
#ifndef CARAT_QUANT_K_ENCODERS_H_
#define CARAT_QUANT_K_ENCODERS_H_

#include <cstddef>

namespace carat {

/// One block of 256 finite numbers; false if its scales are beyond f16.
/// Each group's scale (and minimum) is the one of ten to twenty that leaves the
/// least weighted squared error: for each, codes are rounded and the scale is
/// then the weighted least squares' one for these codes. Weights are
/// |w| + the group's root mean square (Q4_K, Q5_K) or w^2 (Q6_K): large weights
/// matter more, as ggml's quantisers hold, too.
bool encode_q4_k(const float* values, std::byte* block);
bool encode_q5_k(const float* values, std::byte* block);
bool encode_q6_k(const float* values, std::byte* block);

}  // namespace carat

#endif  // CARAT_QUANT_K_ENCODERS_H_
