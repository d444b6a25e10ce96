// ggml's first block formats: 32 numbers, one f16 scale and maybe an f16 bias.
// Source: ggml (ggml-common.h, block_q4_0 to block_q8_0).
#ifndef CARAT_QUANT_LEGACY_BLOCKS_H_
#define CARAT_QUANT_LEGACY_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "quant/load_le.h"
#include "tensor/quantized_matrix.h"

namespace carat {

/// 16 bytes -> 32 codes: low nibbles are the first half, high ones the second.
inline void unpack_nibbles(const std::byte* packed, uint8_t* codes) {
  split_nibbles<16>(packed, codes);
}

/// Adds the fifth bits, bit i of `high` to code i.
inline void add_fifth_bits(uint32_t high, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    codes[i] |= static_cast<uint8_t>(((high >> i) & 1u) << 4);
  }
}

/// d | nibbles: w = d * (q - 8).
struct BlockQ4_0 {
  static constexpr int kValues = 32;
  static constexpr int kBytes = 18;
  static constexpr QuantizedLayout kLayout = {4, 32, 8, false};

  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float*) {
    scales[0] = load_f16(block);
    unpack_nibbles(block + 2, codes);
  }
};

/// d | m | nibbles: w = d * q + m.
struct BlockQ4_1 {
  static constexpr int kValues = 32;
  static constexpr int kBytes = 20;
  static constexpr QuantizedLayout kLayout = {4, 32, 0, true};

  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float* biases) {
    scales[0] = load_f16(block);
    biases[0] = load_f16(block + 2);
    unpack_nibbles(block + 4, codes);
  }
};

/// d | 32 fifth bits | nibbles: w = d * (q - 16).
struct BlockQ5_0 {
  static constexpr int kValues = 32;
  static constexpr int kBytes = 22;
  static constexpr QuantizedLayout kLayout = {5, 32, 16, false};

  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float*) {
    scales[0] = load_f16(block);
    unpack_nibbles(block + 6, codes);
    add_fifth_bits(load_le<uint32_t>(block + 2), codes);
  }
};

/// d | m | 32 fifth bits | nibbles: w = d * q + m.
struct BlockQ5_1 {
  static constexpr int kValues = 32;
  static constexpr int kBytes = 24;
  static constexpr QuantizedLayout kLayout = {5, 32, 0, true};

  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float* biases) {
    scales[0] = load_f16(block);
    biases[0] = load_f16(block + 2);
    unpack_nibbles(block + 8, codes);
    add_fifth_bits(load_le<uint32_t>(block + 4), codes);
  }
};

/// d | 32 signed bytes: w = d * q; the code is q + 128.
struct BlockQ8_0 {
  static constexpr int kValues = 32;
  static constexpr int kBytes = 34;
  static constexpr QuantizedLayout kLayout = {8, 32, 128, false};

  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float*) {
    scales[0] = load_f16(block);
    for (int i = 0; i < kValues; ++i) {
      codes[i] = static_cast<uint8_t>(block[2 + i]) ^ 0x80;
    }
  }
};

}  // namespace carat

#endif  // CARAT_QUANT_LEGACY_BLOCKS_H_
