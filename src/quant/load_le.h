// Unaligned little-endian loads from a block's bytes.
#ifndef CARAT_QUANT_LOAD_LE_H_
#define CARAT_QUANT_LOAD_LE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/float_types.h"

namespace carat {

template <class T>
T load_le(const std::byte* from) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// A binary16 number, widened.
inline float load_f16(const std::byte* from) {
  return f16_to_f32(load_le<uint16_t>(from));
}

/// kBytes bytes -> 2 * kBytes codes: first all low nibbles, then the high ones.
template <int kBytes>
void split_nibbles(const std::byte* packed, uint8_t* codes) {
  static_assert(kBytes % 8 == 0);
  constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0full;
  for (int i = 0; i < kBytes; i += 8) {
    const auto eight = load_le<uint64_t>(packed + i);
    const uint64_t low = eight & kNibbles;
    const uint64_t high = (eight >> 4) & kNibbles;
    std::memcpy(codes + i, &low, 8);
    std::memcpy(codes + i + kBytes, &high, 8);
  }
}

}  // namespace carat

#endif  // CARAT_QUANT_LOAD_LE_H_
