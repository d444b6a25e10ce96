// ggml's K-quants: super-blocks of 256 numbers in groups of 16 or 32, whose
// small integer scales (and minima) are themselves scaled by an f16.
//
// Every product d * scale * code fits 24 bits, so it is exact in f32, and a
// weight is rounded once (where a minimum is subtracted), as in ggml.
// Source: ggml (ggml-common.h, block_q2_K to block_q6_K).
#ifndef CARAT_QUANT_K_BLOCKS_H_
#define CARAT_QUANT_K_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/block_source.h"
#include "quant/load_le.h"
#include "tensor/quantized_matrix.h"

namespace carat {

/// 64 bytes -> 256 two-bit codes: each half of the bytes serves 128 codes, 32
/// for each bit pair, lowest pair first.
inline void unpack_crumbs(const std::byte* packed, uint8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    for (int pair = 0; pair < 4; ++pair) {
      for (int i = 0; i < 32; ++i) {
        *codes++ = (static_cast<uint8_t>(packed[i]) >> (2 * pair)) & 3;
      }
    }
    packed += 32;
  }
}

/// 128 bytes -> 256 nibbles: each 32 bytes hold 64 codes, low nibbles first.
inline void unpack_nibble_runs(const std::byte* packed, uint8_t* codes) {
  for (int run = 0; run < 4; ++run) {
    split_nibbles<32>(packed, codes);
    packed += 32;
    codes += 64;
  }
}

/// 32 bytes hold one more bit of 256 codes: bit r of byte i belongs to code
/// 32 * r + i, where it becomes bit kBit.
template <int kBit>
void add_high_bits(const std::byte* packed, uint8_t* codes) {
  for (int run = 0; run < 8; ++run) {
    for (int i = 0; i < 32; ++i) {
      const int bit = (static_cast<uint8_t>(packed[i]) >> run) & 1;
      codes[i] |= static_cast<uint8_t>(bit << kBit);
    }
    codes += 32;
  }
}

/// Q4_K's and Q5_K's head: d | dmin | 8 six-bit scales and minima in 12 bytes,
/// of which the last four of each are split into a nibble and two bits.
inline void unpack_scales_and_minima(const std::byte* block,
                                     SuperBlockScales& out) {
  out.scale = load_f16(block);
  out.bias = -load_f16(block + 2);
  uint8_t packed[12];
  std::memcpy(packed, block + 4, sizeof(packed));
  for (int i = 0; i < 4; ++i) {
    out.scale_codes[i] = static_cast<int8_t>(packed[i] & 63);
    out.bias_codes[i] = static_cast<int8_t>(packed[i + 4] & 63);
    out.scale_codes[i + 4] =
        static_cast<int8_t>((packed[i + 8] & 0xf) | ((packed[i] >> 6) << 4));
    out.bias_codes[i + 4] =
        static_cast<int8_t>((packed[i + 8] >> 4) | ((packed[i + 4] >> 6) << 4));
  }
}

/// 16 bytes (scale in the low nibble, minimum in the high) | crumbs | d | dmin:
/// w = d * scale * q - dmin * minimum.
struct BlockQ2_K {
  static constexpr int kValues = 256;
  static constexpr int kBytes = 84;
  static constexpr QuantizedLayout kLayout = {2, 16, 0, true, 256};

  static void unpack(const std::byte* block, uint8_t* codes,
                     SuperBlockScales& scales) {
    scales.scale = load_f16(block + 80);
    scales.bias = -load_f16(block + 82);
    for (int i = 0; i < 16; ++i) {
      const auto byte = static_cast<uint8_t>(block[i]);
      scales.scale_codes[i] = static_cast<int8_t>(byte & 0xf);
      scales.bias_codes[i] = static_cast<int8_t>(byte >> 4);
    }
    unpack_crumbs(block + 16, codes);
  }
};

/// 256 third bits | crumbs | 16 six-bit scales in 12 bytes | d:
/// w = d * (scale - 32) * (q - 4).
struct BlockQ3_K {
  static constexpr int kValues = 256;
  static constexpr int kBytes = 110;
  static constexpr QuantizedLayout kLayout = {3, 16, 4, false, 256};

  static void unpack(const std::byte* block, uint8_t* codes,
                     SuperBlockScales& scales) {
    scales.scale = load_f16(block + 108);
    uint8_t packed[12];
    std::memcpy(packed, block + 96, sizeof(packed));
    for (int i = 0; i < 16; ++i) {
      const int low = i < 8 ? packed[i] & 0xf : packed[i - 8] >> 4;
      const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
      scales.scale_codes[i] = static_cast<int8_t>((low | (high << 4)) - 32);
    }
    unpack_crumbs(block + 32, codes);
    add_high_bits<2>(block, codes);
  }
};

/// d | dmin | scales and minima | nibbles: w = d * scale * q - dmin * minimum.
struct BlockQ4_K {
  static constexpr int kValues = 256;
  static constexpr int kBytes = 144;
  static constexpr QuantizedLayout kLayout = {4, 32, 0, true, 256};

  static void unpack(const std::byte* block, uint8_t* codes,
                     SuperBlockScales& scales) {
    unpack_scales_and_minima(block, scales);
    unpack_nibble_runs(block + 16, codes);
  }
};

/// As Q4_K, with 256 fifth bits before the nibbles.
struct BlockQ5_K {
  static constexpr int kValues = 256;
  static constexpr int kBytes = 176;
  static constexpr QuantizedLayout kLayout = {5, 32, 0, true, 256};

  static void unpack(const std::byte* block, uint8_t* codes,
                     SuperBlockScales& scales) {
    unpack_scales_and_minima(block, scales);
    unpack_nibble_runs(block + 48, codes);
    add_high_bits<4>(block + 16, codes);
  }
};

/// Nibbles | two high bits | 16 signed scales | d: w = d * scale * (q - 32).
/// Each half of the block: 64 bytes of nibbles, of which the low ones are the
/// first 64 codes, and 32 bytes of bit pairs, one pair for each 32 codes.
struct BlockQ6_K {
  static constexpr int kValues = 256;
  static constexpr int kBytes = 210;
  static constexpr QuantizedLayout kLayout = {6, 16, 32, false, 256};

  static void unpack(const std::byte* block, uint8_t* codes,
                     SuperBlockScales& scales) {
    scales.scale = load_f16(block + 208);
    std::memcpy(scales.scale_codes, block + 192, 16);
    for (int half = 0; half < 2; ++half) {
      const std::byte* low = block + half * 64;
      const std::byte* high = block + 128 + half * 32;
      for (int i = 0; i < 32; ++i) {
        const auto low0 = static_cast<uint8_t>(low[i]);
        const auto low1 = static_cast<uint8_t>(low[i + 32]);
        const auto pairs = static_cast<uint8_t>(high[i]);
        codes[i] = static_cast<uint8_t>((low0 & 0xf) | ((pairs & 3) << 4));
        codes[i + 32] =
            static_cast<uint8_t>((low1 & 0xf) | (((pairs >> 2) & 3) << 4));
        codes[i + 64] =
            static_cast<uint8_t>((low0 >> 4) | (((pairs >> 4) & 3) << 4));
        codes[i + 96] = static_cast<uint8_t>((low1 >> 4) | ((pairs >> 6) << 4));
      }
      codes += 128;
    }
  }
};

}  // namespace carat

#endif  // CARAT_QUANT_K_BLOCKS_H_
