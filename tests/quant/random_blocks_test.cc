#include "quant/random_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "carat/error.h"
#include "quant/decoder.h"

namespace carat {
namespace {

constexpr int kEncodings = static_cast<int>(Encoding::kQ6_K) + 1;

std::vector<std::byte> blocks_of(Encoding encoding, int64_t values,
                                 uint64_t seed) {
  const EncodingInfo& info = encoding_info(encoding);
  std::vector<std::byte> blocks(
      static_cast<size_t>(values / info.block_values * info.block_bytes));
  SplitMix64 random(seed, "some.weight");
  fill_random_blocks(encoding, 0.02, random, blocks);
  return blocks;
}

// Read by the decoders, which know nothing of how the blocks were made.
TEST(RandomBlocksTest, WeightsHaveTheMeanAndDeviationAskedFor) {
  constexpr int64_t kRows = 256;
  constexpr int64_t kCols = 1024;
  for (int i = 0; i < kEncodings; ++i) {
    const auto encoding = static_cast<Encoding>(i);
    SCOPED_TRACE(encoding_info(encoding).name);
    const auto blocks = blocks_of(encoding, kRows * kCols, 1);
    RawTensor tensor;
    tensor.name = "t";
    tensor.encoding = encoding;
    tensor.shape = {kRows, kCols};
    tensor.data = blocks;
    const std::vector<float> weights = read_all_f32(tensor);
    double sum = 0;
    double squares = 0;
    for (const float weight : weights) {
      sum += weight;
      squares += double{weight} * weight;
    }
    const auto count = static_cast<double>(weights.size());
    EXPECT_NEAR(sum / count, 0, 0.02 * 0.02);
    EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.02 * 0.02);
  }
}

TEST(RandomBlocksTest, CodesTakeEveryValue) {
  for (int i = 0; i < kEncodings; ++i) {
    const auto encoding = static_cast<Encoding>(i);
    if (encoding_info(encoding).block_values == 1) continue;
    SCOPED_TRACE(encoding_info(encoding).name);
    const auto blocks = blocks_of(encoding, 16384, 1);
    RawTensor tensor;
    tensor.encoding = encoding;
    tensor.shape = {16, 1024};
    tensor.data = blocks;
    const auto source = make_weight_source(tensor);
    QuantizedMatrix matrix;
    source->read(0, 16, matrix);
    const std::set<uint8_t> codes(matrix.codes.begin(), matrix.codes.end());
    EXPECT_EQ(codes.size(), size_t{1} << matrix.layout.bits);
  }
}

TEST(RandomBlocksTest, TheSeedAndTheNameDecide) {
  const auto first = blocks_of(Encoding::kQ4_0, 4096, 1);
  EXPECT_EQ(first, blocks_of(Encoding::kQ4_0, 4096, 1));
  EXPECT_NE(first, blocks_of(Encoding::kQ4_0, 4096, 2));
  EXPECT_NE(SplitMix64(1, "a").next(), SplitMix64(1, "b").next());
  // The published first output for seed 0.
  EXPECT_EQ(SplitMix64(0).next(), 0xe220a8397b1dcdafu);
}

TEST(RandomBlocksTest, MistakesAreRefused) {
  std::vector<std::byte> blocks(19);
  SplitMix64 random(1);
  EXPECT_THROW(fill_random_blocks(Encoding::kQ4_0, 0.1, random, blocks), Error);
  blocks.resize(18);
  EXPECT_THROW(fill_random_blocks(Encoding::kQ4_0, 2, random, blocks), Error);
}

}  // namespace
}  // namespace carat
