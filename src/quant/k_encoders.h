// Encoders of ggml's K-quants: 256 numbers in groups of 16 or 32.
#ifndef CARAT_QUANT_K_ENCODERS_H_
#define CARAT_QUANT_K_ENCODERS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace carat {

/// Each group's scale (and minimum) is the one of ten to twenty that leaves the
/// least weighted squared error: for each, codes are rounded and the scale is
/// then the weighted least squares' one for these codes. Weights are
/// |w| + the group's root mean square (Q4_K, Q5_K) or w^2 (Q6_K): large weights
/// matter more, as ggml's quantisers hold, too.
struct KEncoders {
  /// Whole blocks of 256 numbers. A block that holds an infinity or a NaN, or
  /// whose scales are beyond f16, becomes NaN as a whole.
  using Encode = void (*)(const float* values, int64_t blocks, std::byte* out);

  std::string_view instruction_set;
  Encode q4_k;
  Encode q5_k;
  Encode q6_k;
};

/// For the instruction sets that this machine has, the fastest first. All give
/// the same bytes. Thread-safe.
std::span<const KEncoders> k_encoders();

}  // namespace carat

#endif  // CARAT_QUANT_K_ENCODERS_H_
