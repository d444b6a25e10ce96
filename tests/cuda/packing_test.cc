// Tiles as weight_format.h describes them, unpacked by hand; no device is
// asked.
#include "backend/cuda/packing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "tests/cuda/cuda_fixture.h"

namespace carat::cuda {
namespace {

uint32_t word_at(const std::vector<uint8_t>& bytes, size_t offset) {
  uint32_t word;
  std::memcpy(&word, bytes.data() + offset, 4);
  return word;
}

// All tile rows of a source, and how to read them.
struct Packed {
  explicit Packed(const WeightSource& source)
      : tiles(plan_tiles(source.rows(), source.cols(), source.layout())),
        bytes(static_cast<size_t>(tile_row_bytes(tiles) *
                                  tile_row_count(tiles))) {
    QuantizedMatrix scratch;
    for (int64_t row = 0; row < tile_row_count(tiles); ++row) {
      pack_tile_row(source, tiles, row, scratch,
                    bytes.data() + row * tile_row_bytes(tiles));
    }
  }

  // Where the slice of (row, k) begins.
  size_t slice(int64_t row, int64_t k) const {
    const int64_t tile = row / 64 * tiles.k_tiles + k / 64;
    return static_cast<size_t>((tile * 4 + row % 64 / 16) * tiles.slice_bytes);
  }
  // The code as stored.
  int code(int64_t row, int64_t k) const {
    const int64_t step = k % 64 / 16, in_step = k % 16;
    const int64_t g = row % 8, high = row % 16 / 8;
    const int64_t q = in_step % 8 / 2, upper = in_step / 8, odd = in_step % 2;
    const auto lane = static_cast<size_t>(4 * g + q);
    const size_t base = slice(row, k);
    if (tiles.bits == 4) {
      const uint32_t word =
          word_at(bytes, base + lane * 16 + static_cast<size_t>(step) * 4);
      const int64_t bit = 4 * (high + 2 * upper) + 16 * odd;
      return static_cast<int>(word >> bit & 15u);
    }
    const size_t plane = base + static_cast<size_t>(step / 2) * 512;
    const uint32_t word =
        word_at(bytes, plane + lane * 16 + static_cast<size_t>(step % 2) * 8 +
                           static_cast<size_t>(upper) * 4);
    return static_cast<int>(word >> (8 * high + 16 * odd) & 255u);
  }
  // Scale (0) or bias (1) of (row, k).
  float number(int64_t row, int64_t k, int which) const {
    const size_t group =
        static_cast<size_t>(k % 64 / 16 / tiles.steps_per_group);
    const size_t words = tiles.has_bias != 0 ? 16 : 8;
    const size_t at = slice(row, k) + static_cast<size_t>(128 * tiles.bits) +
                      4 * (group * words + static_cast<size_t>(8 * which) +
                           static_cast<size_t>(row % 8));
    const uint32_t word = word_at(bytes, at);
    return bf16_to_f32(static_cast<uint16_t>(row % 16 < 8 ? word : word >> 16));
  }
  float weight(int64_t row, int64_t k) const {
    const bool has_bias = tiles.has_bias != 0;
    const float scale = std::ldexp(
        number(row, k, 0), -scale_exponent(tiles.bits, row % 16 < 8 ? 0 : 1));
    const float bias =
        has_bias ? std::ldexp(number(row, k, 1), -kWeightExponent) : 0.0f;
    const int centre = has_bias ? 0 : centre_of(tiles.bits);
    return std::fma(static_cast<float>(code(row, k) - centre), scale, bias);
  }

  WeightTiles tiles;
  std::vector<uint8_t> bytes;
};

TEST(CudaPacking, TilesHoldTheNumbersOfEveryLayout) {
  const QuantizedLayout layouts[] = {
      {4, 32, 8, false},  {4, 64, 0, true},    {4, 16, 8, false},
      {3, 128, 4, false}, {8, 32, 128, false}, {8, 16, 0, true},
      {6, 16, 32, false}, {5, 32, 0, true},    {8, 64, 0, false},
      {4, 32, 0, false},
  };
  constexpr int64_t kRows = 70, kCols = 200;  // no multiples of a tile
  for (const QuantizedLayout& layout : layouts) {
    SCOPED_TRACE(testing::Message()
                 << layout.bits << " bits, group " << layout.group
                 << (layout.has_bias ? ", biases" : ""));
    const RandomWeights source(kRows, kCols, layout, 7);
    const Packed packed(source);
    EXPECT_EQ(packed.tiles.bits, layout.bits <= 4 ? 4 : 8);
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t k = 0; k < kCols; ++k) {
        const int64_t i = row * kCols + k;
        ASSERT_NEAR(packed.weight(row, k), source.weight(i), source.rounding(i))
            << row << ", " << k;
      }
    }
  }
}

TEST(CudaPacking, PaddingMeansZero) {
  const RandomWeights source(70, 200, {4, 32, 8, false}, 7);
  const Packed packed(source);
  for (int64_t row = 70; row < 128; ++row) EXPECT_EQ(packed.weight(row, 5), 0);
  for (int64_t k = 200; k < 256; ++k) EXPECT_EQ(packed.weight(5, k), 0);
}

// One scale alone, in the first and the second half of a slice's rows.
TEST(CudaPacking, ScalesUpToTheLimitAreExactAndLargerOnesRefused) {
  constexpr float kLimit = 0x1p26f;
  for (const QuantizedLayout& layout :
       {QuantizedLayout{4, 32, 8, false}, QuantizedLayout{4, 64, 0, true},
        QuantizedLayout{8, 32, 128, false}, QuantizedLayout{8, 32, 0, true}}) {
    for (const int64_t row : {0, 8}) {
      SCOPED_TRACE(testing::Message() << layout.bits << " bits, row " << row);
      RandomWeights source(64, 64, layout, 7);
      for (const float scale : {0x1.fep25f, -0x1.fep25f, 0x1p-60f}) {
        source.set_row(row, scale, 0);
        const Packed packed(source);
        for (int64_t k = 0; k < 64; ++k) {
          EXPECT_EQ(packed.weight(row, k), source.weight(row * 64 + k)) << k;
        }
      }
      source.set_row(row, kLimit, 0);
      EXPECT_THROW(Packed{source}, Error);
      source.set_row(row, std::numeric_limits<float>::infinity(), 0);
      EXPECT_EQ(Packed(source).weight(row, 5), 0);
    }
  }
}

TEST(CudaPacking, ALayoutThatIsNoneIsRefused) {
  for (const QuantizedLayout layout :
       {QuantizedLayout{1, 32, 0, false}, QuantizedLayout{9, 32, 0, false},
        QuantizedLayout{4, 24, 0, false}, QuantizedLayout{4, 32, 200, false},
        QuantizedLayout{4, 32, 8, true}}) {
    EXPECT_THROW(plan_tiles(64, 64, layout), Error);
  }
  EXPECT_THROW(plan_tiles(0, 64, {4, 32, 8, false}), Error);
}

}  // namespace
}  // namespace carat::cuda
