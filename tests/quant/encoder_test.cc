// Encoders against the decoders: what is written reads back as near as the
// format allows, and edge cases do as the header says.
#include "quant/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "carat/error.h"
#include "quant/decoder.h"
#include "quant/k_encoders.h"
#include "quant/quantizing_source.h"

namespace carat {
namespace {

constexpr int64_t kRows = 16;
constexpr int64_t kCols = 512;

std::vector<float> normal_numbers(float deviation, float mean = 0) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(static_cast<size_t>(kRows * kCols));
  for (float& value : values) value = normal(random);
  return values;
}

std::unique_ptr<WeightSource> dense(const std::vector<float>& values,
                                    int64_t cols = kCols) {
  RawTensor tensor = {"w",
                      Encoding::kF32,
                      {std::ssize(values) / cols, cols},
                      std::as_bytes(std::span(values))};
  return make_weight_source(tensor);
}

std::vector<float> round_trip(const std::vector<float>& values,
                              Encoding encoding, int64_t cols = kCols) {
  const auto source = make_quantizing_source(dense(values, cols), encoding);
  std::vector<float> out(values.size());
  source->read_f32(0, source->rows(), out.data());
  return out;
}

double relative_error(const std::vector<float>& values,
                      const std::vector<float>& out) {
  double error = 0, size = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += std::pow(double(values[i]) - out[i], 2);
    size += std::pow(double(values[i]), 2);
  }
  return std::sqrt(error / size);
}

struct Bound {
  Encoding encoding;
  double most;  // relative error of normal numbers
};

// What ggml's and MLX's quantisers reach on normal numbers, and a little.
constexpr Bound kBounds[] = {
    {Encoding::kF32, 0},       {Encoding::kF16, 3e-4},
    {Encoding::kBF16, 2.5e-3}, {Encoding::kQ4_0, 0.094},
    {Encoding::kQ5_0, 0.047},  {Encoding::kQ5_1, 0.040},
    {Encoding::kQ8_0, 0.0058}, {Encoding::kQ4_K, 0.075},
    {Encoding::kQ5_K, 0.038},  {Encoding::kQ6_K, 0.020},
    {Encoding::kMlx4, 0.098},  {Encoding::kMlx8, 0.0080},
};

TEST(EncoderTest, NormalNumbersComeBackNearly) {
  for (const float deviation : {1.0f, 0.02f}) {
    const std::vector<float> values = normal_numbers(deviation);
    for (const Bound& bound : kBounds) {
      const double error =
          relative_error(values, round_trip(values, bound.encoding));
      EXPECT_LE(error, bound.most) << encoding_info(bound.encoding).name;
      EXPECT_GE(error, bound.most / 3) << encoding_info(bound.encoding).name;
    }
  }
}

TEST(EncoderTest, OffsetsAreMetByFormatsWithMinima) {
  const std::vector<float> values = normal_numbers(0.02f, -0.05f);
  for (const Bound& bound : kBounds) {
    if (bound.encoding == Encoding::kBF16) continue;
    EXPECT_LE(relative_error(values, round_trip(values, bound.encoding)),
              1.2 * bound.most)
        << encoding_info(bound.encoding).name;
  }
}

TEST(EncoderTest, ZerosAndConstantsStayThemselves) {
  for (const Bound& bound : kBounds) {
    SCOPED_TRACE(encoding_info(bound.encoding).name);
    const std::vector<float> zeros(kCols, 0.0f);
    EXPECT_EQ(round_trip(zeros, bound.encoding), zeros);
    for (const float number : {0.25f, -0.25f}) {
      const std::vector<float> same(kCols, number);
      for (const float value : round_trip(same, bound.encoding)) {
        EXPECT_NEAR(value, number, 0.25 * 0.01);
      }
    }
  }
}

TEST(EncoderTest, WhatIsNotFiniteMakesItsBlockNan) {
  for (const Bound& bound : kBounds) {
    if (bound.encoding <= Encoding::kBF16) continue;
    SCOPED_TRACE(encoding_info(bound.encoding).name);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values = normal_numbers(1);
      values[300] = bad;
      const std::vector<float> out = round_trip(values, bound.encoding);
      EXPECT_TRUE(std::isnan(out[300]));
      EXPECT_FALSE(std::isnan(out[0]));
      EXPECT_FALSE(std::isnan(out[kCols]));
    }
  }
}

TEST(EncoderTest, NumbersBeyondF16ScalesBecomeNan) {
  const std::vector<float> values(kCols, 3e8f);
  for (const Encoding encoding :
       {Encoding::kQ4_0, Encoding::kQ8_0, Encoding::kQ4_K, Encoding::kQ6_K}) {
    EXPECT_TRUE(std::isnan(round_trip(values, encoding)[0]))
        << encoding_info(encoding).name;
  }
}

// Reading through the source is reading a file that was written with it.
TEST(EncoderTest, CodesAreThoseOfTheWrittenRows) {
  const std::vector<float> values = normal_numbers(0.1f);
  for (const Encoding encoding : {Encoding::kQ4_K, Encoding::kMlx4}) {
    const auto source = dense(values);
    std::vector<float> scratch;
    EncodedRows rows;
    encode_rows(*source, 0, kRows, encoding, scratch, rows);
    QuantizedMatrix expected, found;
    make_weight_source(rows.tensor(encoding, kRows, kCols))
        ->read(3, 5, expected);
    const auto quantizing = make_quantizing_source(dense(values), encoding);
    quantizing->read(3, 5, found);
    EXPECT_EQ(found.layout, quantizing->layout());
    EXPECT_EQ(found.codes, expected.codes);
    EXPECT_EQ(found.scales, expected.scales);
    EXPECT_EQ(found.biases, expected.biases);
  }
}

// Odd counts end in a lone block; it and a bad one change nothing about others.
TEST(EncoderTest, InstructionSetsGiveTheSameBytes) {
  std::vector<float> values = normal_numbers(0.02f);
  for (size_t i = 0; i < 512; ++i) values[i] *= 1e-3f;
  for (size_t i = 512; i < 768; ++i) values[i] = 0;
  values[1100] = std::numeric_limits<float>::infinity();
  values[1500] = 30;
  constexpr int64_t kBlocks = 31;
  const auto encoded = [&](KEncoders::Encode encode, size_t block_bytes) {
    std::vector<std::byte> out(kBlocks * block_bytes);
    encode(values.data(), kBlocks, out.data());
    return out;
  };
  const KEncoders& plain = k_encoders().back();
  EXPECT_EQ(plain.instruction_set, "baseline");
  for (const KEncoders& encoders : k_encoders()) {
    SCOPED_TRACE(encoders.instruction_set);
    EXPECT_EQ(encoded(encoders.q4_k, 144), encoded(plain.q4_k, 144));
    EXPECT_EQ(encoded(encoders.q5_k, 176), encoded(plain.q5_k, 176));
    EXPECT_EQ(encoded(encoders.q6_k, 210), encoded(plain.q6_k, 210));
  }
}

TEST(EncoderTest, OnlyWholeBlocksOfKnownEncodings) {
  EXPECT_TRUE(can_encode(Encoding::kQ4_K, 512));
  EXPECT_FALSE(can_encode(Encoding::kQ4_K, 640));
  EXPECT_FALSE(can_encode(Encoding::kQ3_K, 512));
  EXPECT_FALSE(can_encode(Encoding::kMlx4, 96));
  EXPECT_FALSE(can_encode(Encoding::kMlx5, 128));
  const std::vector<float> values(96);
  EXPECT_THROW(make_quantizing_source(dense(values, 96), Encoding::kMlx4),
               Error);
}

}  // namespace
}  // namespace carat
