#include "quant/affine_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "formats/safetensors.h"
#include "quant/decoder.h"
#include "tests/safetensors_file.h"

namespace carat {
namespace {

struct Packing {
  int bits;
  Encoding encoding;
};

constexpr Packing kPackings[] = {
    {2, Encoding::kMlx2}, {3, Encoding::kMlx3}, {4, Encoding::kMlx4},
    {5, Encoding::kMlx5}, {6, Encoding::kMlx6}, {8, Encoding::kMlx8},
};

// The goldens' scales, narrowed where the file has them widened.
std::vector<uint16_t> narrow(std::span<const float> values, Encoding encoding) {
  std::vector<uint16_t> result;
  for (const float value : values) {
    result.push_back(encoding == Encoding::kF16 ? f32_to_f16(value)
                                                : f32_to_bf16(value));
  }
  return result;
}

struct Numbers {
  const char* name;
  Encoding encoding;
};

constexpr Numbers kNumbers[] = {{"f32", Encoding::kF32},
                                {"f16", Encoding::kF16},
                                {"bf16", Encoding::kBF16}};

// Any rows as codes and as numbers.
void expect_rows(const RawTensor& tensor, std::span<const float> values) {
  const auto source = make_weight_source(tensor);
  QuantizedMatrix matrix;
  source->read(2, 3, matrix);
  ASSERT_EQ(matrix.rows, 3);
  size_t i = static_cast<size_t>(2 * tensor.cols());
  for (size_t at = 0; at < matrix.codes.size(); ++at, ++i) {
    ASSERT_LT(matrix.codes[at], 1 << matrix.layout.bits);
    const size_t group = at / static_cast<size_t>(matrix.layout.group);
    ASSERT_EQ(dequantize(matrix.codes[at], matrix.scales[group],
                         matrix.biases[group], matrix.layout),
              values[i]);
  }
}

TEST(AffineSourceTest, EqualsMlxInEveryPacking) {
  const auto path = std::filesystem::path(CARAT_SHARED_DATA) / "tiny-gguf" /
                    "mlx-blocks.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no file " << path;
  const SafetensorsShard goldens(path);
  const SafetensorsFile widened(path);
  int cases = 0;
  for (const Packing& packing : kPackings) {
    for (const int group : {32, 64, 128}) {
      for (const Numbers& numbers : kNumbers) {
        const std::string name = "b" + std::to_string(packing.bits) + ".g" +
                                 std::to_string(group) + "." + numbers.name;
        SCOPED_TRACE(name);
        const SafetensorsTensor* words = goldens.find(name + ".weight");
        if (words == nullptr) continue;
        ++cases;
        RawTensor tensor = {"t", packing.encoding,
                            goldens.find(name + ".dequant_f32")->shape,
                            words->data};
        tensor.affine = {group, numbers.encoding,
                         goldens.find(name + ".scales")->data,
                         goldens.find(name + ".biases")->data};
        EXPECT_EQ(make_weight_source(tensor)->layout(),
                  (QuantizedLayout{packing.bits, group, 0, true}));
        const auto expected = widened.f32(name + ".dequant_f32");
        const std::vector<float> values = read_all_f32(tensor);
        ASSERT_EQ(values.size(), expected.size());
        for (size_t i = 0; i < values.size(); ++i) {
          // Of f32 scales the product is rounded, unless MLX fuses it.
          ASSERT_NEAR(values[i], expected[i],
                      numbers.encoding == Encoding::kF32
                          ? 1e-6f * (1 + std::abs(expected[i]))
                          : 0)
              << i;
        }
        expect_rows(tensor, values);
      }
    }
  }
  EXPECT_EQ(cases, 30);
}

TEST(AffineSourceTest, ScalesMayBeOf16Bits) {
  const std::vector<uint8_t> codes(2 * 32, 0x21);
  const std::vector<float> scales = {1.5f, -2.0f};
  const std::vector<float> biases = {0.25f, 3.0f};
  for (const Encoding encoding : {Encoding::kF16, Encoding::kBF16}) {
    const auto narrow_scales = narrow(scales, encoding);
    const auto narrow_biases = narrow(biases, encoding);
    RawTensor tensor = {
        "t", Encoding::kMlx4, {2, 64}, std::as_bytes(std::span(codes))};
    tensor.affine = {64, encoding, std::as_bytes(std::span(narrow_scales)),
                     std::as_bytes(std::span(narrow_biases))};
    const std::vector<float> values = read_all_f32(tensor);
    EXPECT_EQ(values[0], 1.75f);  // the low nibble comes first
    EXPECT_EQ(values[1], 3.25f);
    EXPECT_EQ(values[64], 1.0f);
    EXPECT_EQ(values[65], -1.0f);
  }
}

TEST(AffineSourceTest, RefusesWhatDoesNotFit) {
  const std::vector<uint8_t> codes(2 * 32);
  const std::vector<float> numbers(2);
  const auto attempt = [&](int64_t cols, int group, size_t scale_count) {
    RawTensor tensor = {"t",
                        Encoding::kMlx4,
                        {128 / cols, cols},
                        std::as_bytes(std::span(codes))};
    const auto part = std::as_bytes(std::span(numbers).first(scale_count));
    tensor.affine = {group, Encoding::kF32, part, part};
    make_weight_source(tensor);
  };
  attempt(64, 64, 2);
  EXPECT_THROW(attempt(64, 64, 1), Error);
  EXPECT_THROW(attempt(64, 16, 2), Error);
  EXPECT_THROW(attempt(64, 0, 2), Error);
  EXPECT_THROW(attempt(64, 128, 2), Error);
  EXPECT_THROW(attempt(32, 64, 2), Error);
}

TEST(AffineSourceTest, AnAddendCountsInVectors) {
  const std::vector<float> values = {0.5f, -1.0f};
  RawTensor tensor = {
      "norm", Encoding::kF32, {2}, std::as_bytes(std::span(values))};
  tensor.addend = 1;
  EXPECT_EQ(read_all_f32(tensor), (std::vector<float>{1.5f, 0.0f}));
}

}  // namespace
}  // namespace carat
