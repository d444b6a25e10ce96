// The one type at which file encodings meet kernels.
#ifndef CARAT_TENSOR_QUANTIZED_MATRIX_H_
#define CARAT_TENSOR_QUANTIZED_MATRIX_H_

#include <cstdint>
#include <vector>

namespace carat {

/// How the numbers of a quantised matrix are made of codes:
///   w[n,k] = scale[n,g] * (code[n,k] - zero_point)     without biases
///   w[n,k] = scale[n,g] * code[n,k] + bias[n,g]        with biases
/// where g = k / group. With super-blocks scales and biases are small integers
/// times one float of the super-block k / super_block, exactly.
struct QuantizedLayout {
  int bits = 8;        ///< codes are below 1 << bits; in 2..8
  int group = 32;      ///< values that share a scale: 16, 32, 64 or 128
  int zero_point = 0;  ///< in 0..128; 0 where has_bias
  bool has_bias = false;
  int super_block = 0;  ///< values that share the float: 256; 0: none

  bool operator==(const QuantizedLayout&) const = default;
};

/// Some consecutive rows of a quantised matrix [N, K], unpacked for repacking:
/// the transient form between a file's blocks and a backend's own tiling.
/// Scales and biases are f32, wide enough to be exact for every ggml encoding
/// (one rounding in w, the same one ggml makes).
struct QuantizedMatrix {
  QuantizedLayout layout;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<uint8_t> codes;  ///< [rows, cols], one code a byte
  std::vector<float> scales;   ///< [rows, groups()]
  std::vector<float> biases;   ///< [rows, groups()], empty unless has_bias

  // With super-blocks also the factors of the two; empty without, and of the
  // biases unless has_bias.
  std::vector<float> super_scales;  ///< [rows, super_blocks()]
  std::vector<float> super_biases;  ///< [rows, super_blocks()]
  std::vector<int8_t> scale_codes;  ///< [rows, groups()]
  std::vector<int8_t> bias_codes;   ///< [rows, groups()]

  int64_t groups() const { return (cols + layout.group - 1) / layout.group; }
  int64_t super_blocks() const {
    const int values = layout.super_block;
    return values > 0 ? (cols + values - 1) / values : 0;
  }
};

/// The value of one code; exactly what the source format defines.
inline float dequantize(uint8_t code, float scale, float bias,
                        const QuantizedLayout& layout) {
  if (layout.has_bias) return scale * static_cast<float>(code) + bias;
  return scale * static_cast<float>(static_cast<int>(code) - layout.zero_point);
}

}  // namespace carat

#endif  // CARAT_TENSOR_QUANTIZED_MATRIX_H_
