#include "quant/legacy_encoders.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "quant/rounding.h"
#include "quant/store_le.h"

namespace carat {
namespace {

constexpr int kValues = 32;

/// The number of largest magnitude, with its sign; the first such.
float extreme(const float* values) {
  // As integers, magnitudes order as the numbers do, and compilers find
  // vectors.
  int32_t largest = 0;
  for (int i = 0; i < kValues; ++i) {
    largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
  }
  const auto magnitude = std::bit_cast<float>(largest);
  int positive = 0, negative = 0;
  for (int i = 0; i < kValues; ++i) {
    positive |= values[i] == magnitude ? 1 : 0;
    negative |= values[i] == -magnitude ? 1 : 0;
  }
  if (negative == 0) return magnitude;
  if (positive == 0) return -magnitude;
  return *std::find_if(values, values + kValues, [&](float value) {
    return std::fabs(value) == magnitude;
  });
}

float inverse(float x) { return x == 0 ? 0 : 1 / x; }

/// Low nibbles are the first half's codes, high ones the second's.
void pack_nibbles(const uint8_t* codes, std::byte* out) {
  for (int i = 0; i < kValues / 2; ++i) {
    out[i] = static_cast<std::byte>((codes[i] & 0xf) |
                                    (codes[i + kValues / 2] & 0xf) << 4);
  }
}

uint32_t fifth_bits(const uint8_t* codes) {
  uint32_t bits = 0;
  for (int i = 0; i < kValues; ++i) {
    bits |= static_cast<uint32_t>(codes[i] >> 4) << i;
  }
  return bits;
}

void choose_codes(const float* values, float factor, float zero, float most,
                  uint8_t* codes) {
  for (int i = 0; i < kValues; ++i) {
    codes[i] = nearest_code_up(values[i] * factor + zero, most);
  }
}

}  // namespace

bool encode_q4_0(const float* values, std::byte* block) {
  const float scale = extreme(values) / -8;
  uint8_t codes[kValues];
  choose_codes(values, inverse(scale), 8, 15, codes);
  pack_nibbles(codes, block + 2);
  return std::isfinite(store_f16(block, scale));
}

bool encode_q5_0(const float* values, std::byte* block) {
  const float scale = extreme(values) / -16;
  uint8_t codes[kValues];
  choose_codes(values, inverse(scale), 16, 31, codes);
  store_le(block + 2, fifth_bits(codes));
  pack_nibbles(codes, block + 6);
  return std::isfinite(store_f16(block, scale));
}

bool encode_q5_1(const float* values, std::byte* block) {
  const auto [low, high] = std::minmax_element(values, values + kValues);
  const float minimum = *low;
  const float scale = (*high - minimum) / 31;
  const float factor = inverse(scale);
  uint8_t codes[kValues];
  for (int i = 0; i < kValues; ++i) {
    codes[i] = nearest_code_up((values[i] - minimum) * factor, 31);
  }
  store_le(block + 4, fifth_bits(codes));
  pack_nibbles(codes, block + 8);
  return std::isfinite(store_f16(block, scale)) &&
         std::isfinite(store_f16(block + 2, minimum));
}

bool encode_q8_0(const float* values, std::byte* block) {
  const float scale = std::fabs(extreme(values)) / 127;
  const float factor = inverse(scale);
  for (int i = 0; i < kValues; ++i) {
    const float code = values[i] * factor;
    block[2 + i] = static_cast<std::byte>(
        static_cast<int>(code + std::copysign(0.5f, code)));
  }
  return std::isfinite(store_f16(block, scale));
}

}  // namespace carat
