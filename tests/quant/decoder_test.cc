#include "quant/decoder.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "tests/safetensors_file.h"

namespace carat {
namespace {

struct Expected {
  Encoding encoding;
  QuantizedLayout layout;
};

const Expected kBlockEncodings[] = {
    {Encoding::kQ4_0, {4, 32, 8, false}},
    {Encoding::kQ4_1, {4, 32, 0, true}},
    {Encoding::kQ5_0, {5, 32, 16, false}},
    {Encoding::kQ5_1, {5, 32, 0, true}},
    {Encoding::kQ8_0, {8, 32, 128, false}},
    {Encoding::kQ2_K, {2, 16, 0, true, 256}},
    {Encoding::kQ3_K, {3, 16, 4, false, 256}},
    {Encoding::kQ4_K, {4, 32, 0, true, 256}},
    {Encoding::kQ5_K, {5, 32, 0, true, 256}},
    {Encoding::kQ6_K, {6, 16, 32, false, 256}},
};

const QuantizedLayout kDenseLayout = {8, 32, 128, false};

template <class T>
RawTensor tensor_of(Encoding encoding, std::vector<int64_t> shape,
                    std::span<const T> data) {
  return {"t", encoding, std::move(shape), std::as_bytes(data)};
}

template <class T>
RawTensor tensor_of(Encoding encoding, std::vector<int64_t> shape,
                    const std::vector<T>& data) {
  return tensor_of(encoding, std::move(shape), std::span<const T>(data));
}

/// Equal as bits, so that -0, 0 and NaN payloads count.
void expect_same_bits(std::span<const float> found,
                      std::span<const float> expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(found[i]),
              std::bit_cast<uint32_t>(expected[i]))
        << "at " << i << ": " << found[i] << " instead of " << expected[i];
  }
}

/// The codes' values, in the plainest way.
std::vector<float> dequantize_all(const QuantizedMatrix& matrix) {
  std::vector<float> values;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t col = 0; col < matrix.cols; ++col) {
      const auto group = static_cast<size_t>(row * matrix.groups() +
                                             col / matrix.layout.group);
      const float bias = matrix.layout.has_bias ? matrix.biases[group] : 0.0f;
      values.push_back(
          dequantize(matrix.codes[static_cast<size_t>(row * matrix.cols + col)],
                     matrix.scales[group], bias, matrix.layout));
    }
  }
  return values;
}

void expect_well_formed(const QuantizedMatrix& matrix) {
  const auto groups = static_cast<size_t>(matrix.rows * matrix.groups());
  ASSERT_EQ(matrix.codes.size(),
            static_cast<size_t>(matrix.rows * matrix.cols));
  ASSERT_EQ(matrix.scales.size(), groups);
  ASSERT_EQ(matrix.biases.size(), matrix.layout.has_bias ? groups : 0);
  for (const uint8_t code : matrix.codes) {
    ASSERT_LT(code, 1 << matrix.layout.bits);
  }
}

class BlockEncoding : public testing::TestWithParam<Expected> {};

// 18 golden blocks, read as matrices of 1, 2 and 3 blocks a row.
TEST_P(BlockEncoding, EqualsGgmlBitForBit) {
  const auto path = std::filesystem::path(CARAT_SHARED_DATA) / "tiny-gguf" /
                    "ggml-blocks.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no file " << path;
  const SafetensorsFile goldens(path);
  const auto& [encoding, layout] = GetParam();
  const EncodingInfo& info = encoding_info(encoding);
  const std::string name(info.name);
  const auto raw = goldens.u8(name + ".raw");
  const auto expected = goldens.f32(name + ".f32");
  for (const int64_t blocks : {1, 2, 3}) {
    const int64_t rows = 18 / blocks;
    const int64_t cols = blocks * info.block_values;
    const RawTensor tensor = tensor_of(encoding, {rows, cols}, raw);
    const auto source = make_weight_source(tensor);
    ASSERT_EQ(source->rows(), rows);
    ASSERT_EQ(source->cols(), cols);
    EXPECT_EQ(source->layout(), layout);
    expect_same_bits(read_all_f32(tensor), expected);

    QuantizedMatrix matrix;
    source->read(0, rows, matrix);
    EXPECT_EQ(matrix.layout, layout);
    ASSERT_EQ(matrix.rows, rows);
    ASSERT_EQ(matrix.cols, cols);
    expect_well_formed(matrix);
    expect_same_bits(dequantize_all(matrix), expected);

    // Some rows only, into an object that held more.
    const auto part = expected.subspan(static_cast<size_t>(2 * cols),
                                       static_cast<size_t>(3 * cols));
    source->read(2, 3, matrix);
    ASSERT_EQ(matrix.rows, 3);
    expect_well_formed(matrix);
    expect_same_bits(dequantize_all(matrix), part);
    std::vector<float> values(part.size());
    source->read_f32(2, 3, values.data());
    expect_same_bits(values, part);
  }
}

// Any bytes are a block: nothing may trap, whatever the scales are.
TEST_P(BlockEncoding, DecodesAnyBytes) {
  const EncodingInfo& info = encoding_info(GetParam().encoding);
  uint32_t state = 1;
  std::vector<uint8_t> raw(static_cast<size_t>(64 * info.block_bytes));
  for (uint8_t& byte : raw) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  std::fill_n(raw.begin(), 2 * info.block_bytes, uint8_t{0xff});  // NaN scales
  const RawTensor tensor =
      tensor_of(GetParam().encoding, {32, 2 * info.block_values}, raw);
  QuantizedMatrix matrix;
  make_weight_source(tensor)->read(0, 32, matrix);
  expect_well_formed(matrix);
  const auto values = read_all_f32(tensor);
  EXPECT_TRUE(std::isnan(values[0]));
}

INSTANTIATE_TEST_SUITE_P(All, BlockEncoding, testing::ValuesIn(kBlockEncodings),
                         [](const auto& parameter) {
                           return std::string(
                               encoding_info(parameter.param.encoding).name);
                         });

TEST(DenseSource, ReadsEveryF16AndBF16Exactly) {
  std::vector<uint16_t> bits(65536);
  std::vector<float> f16(65536);
  std::vector<float> bf16(65536);
  for (size_t i = 0; i < bits.size(); ++i) {
    bits[i] = static_cast<uint16_t>(i);
    f16[i] = f16_to_f32(bits[i]);
    bf16[i] = bf16_to_f32(bits[i]);
  }
  expect_same_bits(read_all_f32(tensor_of(Encoding::kF16, {256, 256}, bits)),
                   f16);
  expect_same_bits(read_all_f32(tensor_of(Encoding::kBF16, {256, 256}, bits)),
                   bf16);
}

TEST(DenseSource, ReadsF32AndVectorsAsTheyAre) {
  const std::vector<float> values = {1.0f, -0.0f, 3e38f, 1e-45f,
                                     std::numeric_limits<float>::infinity()};
  const RawTensor tensor = tensor_of(Encoding::kF32, {5}, values);
  expect_same_bits(read_all_f32(tensor), values);
  EXPECT_EQ(make_weight_source(tensor)->rows(), 1);
  EXPECT_EQ(make_weight_source(tensor)->layout(), kDenseLayout);
}

// The data of a file may lie at any address.
TEST(DenseSource, ReadsUnalignedData) {
  const std::vector<float> values = {1.5f, 2.5f, -3.5f};
  std::vector<std::byte> bytes(1 + sizeof(float) * values.size());
  std::memcpy(bytes.data() + 1, values.data(), bytes.size() - 1);
  const RawTensor tensor = {
      "t", Encoding::kF32, {1, 3}, std::span(bytes).subspan(1)};
  expect_same_bits(read_all_f32(tensor), values);
}

QuantizedMatrix quantize(const std::vector<float>& values, int64_t rows) {
  const RawTensor tensor =
      tensor_of(Encoding::kF32, {rows, std::ssize(values) / rows}, values);
  QuantizedMatrix matrix;
  make_weight_source(tensor)->read(0, rows, matrix);
  return matrix;
}

TEST(DenseSource, RoundsToNearestEven) {
  std::vector<float> values(32, 0.0f);
  const std::vector<float> first = {127.0f, -127.0f, 0.5f, 1.5f,  2.5f,
                                    -0.5f,  -1.5f,   0.6f, -0.4f, 126.5f};
  std::copy(first.begin(), first.end(), values.begin());
  const QuantizedMatrix matrix = quantize(values, 1);
  EXPECT_EQ(matrix.scales, std::vector<float>{1.0f});
  const std::vector<uint8_t> expected = {255, 1,   128, 130, 130,
                                         128, 126, 129, 128, 254};
  EXPECT_EQ(
      std::vector<uint8_t>(matrix.codes.begin(), matrix.codes.begin() + 10),
      expected);
}

TEST(DenseSource, ErrorIsHalfAStepAndLastGroupMayBeShort) {
  constexpr int64_t kRows = 3;
  for (const int64_t cols : {1, 31, 32, 33, 80, 95}) {
    std::vector<float> values;
    for (int64_t i = 0; i < kRows * cols; ++i) {
      values.push_back(std::sin(static_cast<float>(i * i + 1)) *
                       std::exp2(static_cast<float>(i % 7)));
    }
    const QuantizedMatrix matrix = quantize(values, kRows);
    EXPECT_EQ(matrix.layout, kDenseLayout);
    EXPECT_EQ(matrix.groups(), (cols + 31) / 32);
    expect_well_formed(matrix);
    const auto found = dequantize_all(matrix);
    for (int64_t i = 0; i < kRows * cols; ++i) {
      const auto at = static_cast<size_t>(i);
      const int64_t group = i / cols * matrix.groups() + i % cols / 32;
      const float step = matrix.scales[static_cast<size_t>(group)];
      EXPECT_GE(matrix.codes[at], 1);
      EXPECT_LE(std::abs(found[at] - values[at]), 0.5001f * step) << i;
    }
  }
}

TEST(DenseSource, ExtremesStayDefined) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  for (const float bad : {kInfinity, -kInfinity, kNaN, -kNaN}) {
    std::vector<float> values(64, 1.0f);
    values[5] = bad;
    const QuantizedMatrix matrix = quantize(values, 1);
    const auto found = dequantize_all(matrix);
    EXPECT_TRUE(std::isnan(found[0]));  // the whole group
    EXPECT_EQ(found[32], 1.0f);         // and no other
  }
  for (const float tiny : {0.0f, -0.0f, kTiny, -kTiny, 1e-38f}) {
    std::vector<float> values(32, 0.0f);
    values[3] = tiny;
    const QuantizedMatrix matrix = quantize(values, 1);
    for (const float value : dequantize_all(matrix)) {
      EXPECT_LE(std::abs(value), 1.01e-38f);
    }
    EXPECT_EQ(matrix.codes[0], 128);
  }
  const QuantizedMatrix huge = quantize(std::vector<float>(32, -3.4e38f), 1);
  EXPECT_EQ(huge.codes[0], 1);
  EXPECT_NEAR(dequantize_all(huge)[0], -3.4e38f, 1e33f);
}

void expect_corrupt(const RawTensor& tensor, const std::string& problem) {
  try {
    make_weight_source(tensor);
    ADD_FAILURE() << "accepted; expected: " << problem;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_EQ(std::string(error.what()), "tensor t: " + problem);
  }
}

TEST(WeightSource, RefusesWhatIsNoMatrixOfWholeBlocks) {
  const std::vector<uint8_t> raw(68);
  expect_corrupt(tensor_of(Encoding::kQ8_0, {2, 31}, raw),
                 "rows of 31 values are not whole blocks of 32 (Q8_0)");
  expect_corrupt(tensor_of(Encoding::kQ8_0, {3, 32}, raw),
                 "has 68 bytes, its shape needs 102");
  expect_corrupt(tensor_of(Encoding::kQ8_0, {1, 32}, raw),
                 "has 68 bytes, its shape needs 34");
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {}, {0}, {0, 32}, {2, 0}, {-2, -32}, {1, 2, 32}}) {
    expect_corrupt(tensor_of(Encoding::kQ8_0, shape, raw),
                   "expected a vector or a matrix, not empty");
  }
  expect_corrupt(
      tensor_of(Encoding::kF32, {int64_t{1} << 32, int64_t{1} << 32}, raw),
      "size overflows 64 bits");
}

}  // namespace
}  // namespace carat
