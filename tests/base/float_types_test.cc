#include "base/float_types.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace carat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

bool is_nan_f16(uint16_t half) { return (half & 0x7fff) > 0x7c00; }
bool is_nan_bf16(uint16_t bits) { return (bits & 0x7fff) > 0x7f80; }

// IEEE 754-2019 binary16 as the standard words it, in binary64; not for NaN.
double f16_by_definition(uint16_t half) {
  const double sign = (half & 0x8000) ? -1 : 1;
  const int exponent = (half >> 10) & 0x1f;
  const int mantissa = half & 0x3ff;
  if (exponent == 0x1f) return sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// Rounding by counting units in the last place of the value's own binade:
// nearbyint() rounds ties to even. Not for NaN.
uint16_t f16_by_rounding(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  if (std::isinf(magnitude)) return sign | 0x7c00;
  int exponent = -14;
  if (magnitude >= std::ldexp(1, -14)) exponent = std::ilogb(magnitude);
  const double rounded = std::ldexp(
      std::nearbyint(std::ldexp(magnitude, 10 - exponent)), exponent - 10);
  if (rounded >= 65536) return sign | 0x7c00;
  if (rounded < std::ldexp(1, -14)) {
    return sign | static_cast<uint16_t>(std::ldexp(rounded, 24));
  }
  const int e = std::ilogb(rounded);
  return sign | static_cast<uint16_t>(
                    ((e + 15) << 10) +
                    static_cast<int>(std::ldexp(rounded, 10 - e)) - 1024);
}

TEST(FloatTypes, EveryF16WidensToItsDefinition) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto half = static_cast<uint16_t>(i);
    const float value = f16_to_f32(half);
    if (is_nan_f16(half)) {
      ASSERT_TRUE(std::isnan(value)) << std::hex << i;
      // Sign and payload are kept.
      ASSERT_EQ(bits_of(value),
                ((i & 0x8000) << 16) | 0x7f800000 | ((i & 0x3ff) << 13))
          << std::hex << i;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), f16_by_definition(half))
        << std::hex << i;
    ASSERT_EQ(std::signbit(value), (i & 0x8000) != 0) << std::hex << i;
  }
}

TEST(FloatTypes, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto half = static_cast<uint16_t>(i);
    // A signalling NaN comes back quiet.
    const uint16_t expected = is_nan_f16(half) ? half | 0x200 : half;
    ASSERT_EQ(f32_to_f16(f16_to_f32(half)), expected) << std::hex << i;
  }
}

// Conversion is monotone, so its breaking points tell all of it: the middle of
// each pair of neighbours, and the f32 numbers on both sides of the middle.
TEST(FloatTypes, F16RoundsToNearestEvenAtEveryBreakingPoint) {
  for (uint16_t half = 0; half < 0x7c00; ++half) {
    const double low = f16_by_definition(half);
    // The step above the largest number is where infinity would lie as one.
    const double high = half == 0x7bff ? 65536 : f16_by_definition(half + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
    const auto up = static_cast<uint16_t>(half + 1);
    const uint16_t even = half % 2 == 0 ? half : up;
    ASSERT_EQ(f32_to_f16(middle), even) << std::hex << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half)
        << std::hex << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, kInfinity)), up)
        << std::hex << half;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << std::hex << half;
  }
}

TEST(FloatTypes, F16AgreesWithTheDefinitionAllOverF32) {
  // A prime stride visits every exponent with ever different mantissas.
  for (uint64_t i = 0; i <= 0xffffffff; i += 4093) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(i));
    const uint16_t half = f32_to_f16(value);
    if (std::isnan(value)) {
      ASSERT_TRUE(is_nan_f16(half)) << std::hex << i;
      continue;
    }
    ASSERT_EQ(half, f16_by_rounding(value)) << std::hex << i;
  }
}

TEST(FloatTypes, F16LimitsAndSpecials) {
  EXPECT_EQ(f32_to_f16(0.0f), 0x0000);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
  EXPECT_EQ(f32_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(f32_to_f16(-kInfinity), 0xfc00);
  EXPECT_EQ(f32_to_f16(0x1p-24f), 0x0001);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0x0000);  // a tie, to even
  EXPECT_EQ(f32_to_f16(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0x0000);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::quiet_NaN()), 0x7e00);
  // The payload's low bits alone make this a NaN: it must not become infinity.
  EXPECT_TRUE(is_nan_f16(f32_to_f16(std::bit_cast<float>(0x7f800001u))));
}

TEST(FloatTypes, EveryBf16SurvivesTheRoundTrip) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    ASSERT_EQ(bits_of(bf16_to_f32(bits)), i << 16);
    const uint16_t expected = is_nan_bf16(bits) ? bits | 0x40 : bits;
    ASSERT_EQ(f32_to_bf16(bf16_to_f32(bits)), expected) << std::hex << i;
  }
}

TEST(FloatTypes, Bf16RoundsToNearestEvenAtEveryBreakingPoint) {
  for (uint32_t i = 0; i < 0x7f80; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const uint32_t middle = (i << 16) | 0x8000;
    const uint16_t even = i % 2 == 0 ? bits : bits + 1;
    const auto at = [](uint32_t pattern) {
      return f32_to_bf16(std::bit_cast<float>(pattern));
    };
    ASSERT_EQ(at(middle), even) << std::hex << i;
    ASSERT_EQ(at(middle - 1), bits) << std::hex << i;
    ASSERT_EQ(at(middle + 1), bits + 1) << std::hex << i;
    ASSERT_EQ(at(middle | 0x80000000u), even | 0x8000) << std::hex << i;
  }
  EXPECT_EQ(f32_to_bf16(kInfinity), 0x7f80);
  EXPECT_TRUE(is_nan_bf16(f32_to_bf16(std::bit_cast<float>(0x7f800001u))));
}

TEST(FloatTypes, WorksAtCompileTime) {
  static_assert(f32_to_f16(1.5f) == 0x3e00);
  static_assert(f16_to_f32(0x3e00) == 1.5f);
  static_assert(f16_to_f32(0x0001) == 0x1p-24f);
  static_assert(f32_to_bf16(1.5f) == 0x3fc0);
  static_assert(bf16_to_f32(0x3fc0) == 1.5f);
}

}  // namespace
}  // namespace carat
