// The ways a tensor's numbers are laid out in a file.
#ifndef CARAT_TENSOR_ENCODING_H_
#define CARAT_TENSOR_ENCODING_H_

#include <cstdint>
#include <string_view>

namespace carat {

/// One per on-disk encoding carat decodes. Source of the block formats: ggml's
/// block definitions (ggml-common.h), GGUF type numbers in formats/gguf.cc; of
/// MLX's: quant/affine_source.h.
enum class Encoding : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  // MLX's affine codes, whose scales and biases lie in tensors of their own.
  kMlx2,
  kMlx3,
  kMlx4,
  kMlx5,
  kMlx6,
  kMlx8,
};

/// Facts about one encoding; a row of `block_values` numbers takes
/// `block_bytes` bytes, and rows are whole blocks.
struct EncodingInfo {
  std::string_view name;  ///< "Q4_K", as GGUF tools print it
  int block_values;
  int block_bytes;
};

const EncodingInfo& encoding_info(Encoding encoding);

/// Whether scales and biases lie apart (RawTensor::affine).
constexpr bool is_affine(Encoding encoding) {
  return encoding >= Encoding::kMlx2;
}

}  // namespace carat

#endif  // CARAT_TENSOR_ENCODING_H_
