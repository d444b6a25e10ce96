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

}  // namespace carat

#endif  // CARAT_QUANT_LOAD_LE_H_
