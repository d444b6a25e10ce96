#include "quant/affine_source.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
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

TEST(AffineSourceTest, EqualsMlxInEveryPacking) {
  const auto path = std::filesystem::path(CARAT_SHARED_DATA) / "tiny-gguf" /
                    "mlx-blocks.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no file " << path;
  const SafetensorsFile goldens(path);
  for (const Packing& packing : kPackings) {
    for (const int group : {32, 64, 128}) {
      const std::string name =
          "b" + std::to_string(packing.bits) + ".g" + std::to_string(group);
      SCOPED_TRACE(name);
      const auto words = goldens.i32(name + ".f32.weight");
      const auto scales = goldens.f32(name + ".f32.scales");
      const auto biases = goldens.f32(name + ".f32.biases");
      const auto expected = goldens.f32(name + ".f32.dequant_f32");
      RawTensor tensor = {"t", packing.encoding,
                          goldens.shape(name + ".f32.dequant_f32"),
                          std::as_bytes(words)};
      tensor.affine = {group, Encoding::kF32, std::as_bytes(scales),
                       std::as_bytes(biases)};
      const auto source = make_weight_source(tensor);
      EXPECT_EQ(source->layout(),
                (QuantizedLayout{packing.bits, group, 0, true}));
      const std::vector<float> values = read_all_f32(tensor);
      ASSERT_EQ(values.size(), expected.size());
      for (size_t i = 0; i < values.size(); ++i) {
        // MLX may fuse the product and the sum.
        ASSERT_NEAR(values[i], expected[i], 1e-6f * (1 + std::abs(expected[i])))
            << i;
      }

      // Some rows only, as codes.
      QuantizedMatrix matrix;
      source->read(2, 3, matrix);
      ASSERT_EQ(matrix.rows, 3);
      size_t i = static_cast<size_t>(2 * tensor.cols());
      for (size_t at = 0; at < matrix.codes.size(); ++at, ++i) {
        ASSERT_LT(matrix.codes[at], 1 << packing.bits);
        const size_t g = at / static_cast<size_t>(group);
        ASSERT_EQ(dequantize(matrix.codes[at], matrix.scales[g],
                             matrix.biases[g], matrix.layout),
                  values[i]);
      }
    }
  }
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
