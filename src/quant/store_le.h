// Unaligned little-endian stores into a block's bytes.
#ifndef CARAT_QUANT_STORE_LE_H_
#define CARAT_QUANT_STORE_LE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/float_types.h"

namespace carat {

template <class T>
void store_le(std::byte* to, T value) {
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(to, &value, sizeof(T));
}

/// Rounded to a binary16 number, which is returned, widened again: codes are
/// chosen for the scale that a reader will see.
inline float store_f16(std::byte* to, float value) {
  const uint16_t half = f32_to_f16(value);
  store_le(to, half);
  return f16_to_f32(half);
}

}  // namespace carat

#endif  // CARAT_QUANT_STORE_LE_H_
