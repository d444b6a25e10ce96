// Numbers -> codes, the same on every machine.
#ifndef CARAT_QUANT_ROUNDING_H_
#define CARAT_QUANT_ROUNDING_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

namespace carat {

/// Rounds to the nearest integer, ties to even, for |x| below 2^22; what a
/// compiler turns into vectors without knowing an instruction for it.
template <class Number>
Number round_even(Number x) {
  constexpr float kRound = 0x1.8p23f;
  return (x + kRound) - kRound;
}

/// The nearest of the codes 0 to `most`. A NaN becomes 0.
inline uint8_t nearest_code(float x, float most) {
  const float low = x > 0.0f ? x : 0.0f;
  return static_cast<uint8_t>(
      static_cast<int>(round_even(low < most ? low : most)));
}

/// The same with halves rounded up, as ggml's first quantisers do: weights that
/// were quantised before have many.
inline uint8_t nearest_code_up(float x, float most) {
  const float low = (x > 0.0f ? x : 0.0f) + 0.5f;
  return static_cast<uint8_t>(static_cast<int>(low < most ? low : most));
}

/// Whether there is neither an infinity nor a NaN.
inline bool all_finite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t bad = 0;  // not a bool: compilers turn this into vectors
  for (const float value : values) {
    bad |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent ? 1u : 0u;
  }
  return bad == 0;
}

}  // namespace carat

#endif  // CARAT_QUANT_ROUNDING_H_
