#include "model/quantization_plan.h"

#include <gtest/gtest.h>

#include "carat/error.h"

namespace carat {
namespace {

Encoding plan(const char* type, const char* role, int64_t cols = 2560,
              bool tied = true, int64_t layers = 34) {
  return plan_encoding(find_quantization(type), role, layers, cols, tied);
}

TEST(QuantizationPlanTest, ChoosesAsLlamaCppDoes) {
  EXPECT_EQ(plan("q4_0", "layers.0.mlp.up_proj"), Encoding::kQ4_0);
  EXPECT_EQ(plan("q4_0", "embed_tokens"), Encoding::kQ6_K);
  EXPECT_EQ(plan("q4_0", "embed_tokens", 2560, false), Encoding::kQ4_0);
  EXPECT_EQ(plan("q4_0", "lm_head", 2560, false), Encoding::kQ6_K);
  EXPECT_EQ(plan("q8_0", "embed_tokens"), Encoding::kQ8_0);
  EXPECT_EQ(plan("bf16", "embed_tokens"), Encoding::kBF16);
  EXPECT_EQ(plan("q4_k", "layers.0.mlp.down_proj"), Encoding::kQ6_K);
  EXPECT_EQ(plan("q4_k", "layers.4.mlp.down_proj"), Encoding::kQ4_K);
  EXPECT_EQ(plan("q4_k", "layers.6.self_attn.v_proj"), Encoding::kQ6_K);
  EXPECT_EQ(plan("q4_k", "layers.33.self_attn.v_proj"), Encoding::kQ6_K);
  EXPECT_EQ(plan("q4_k", "layers.0.self_attn.k_proj"), Encoding::kQ4_K);
  EXPECT_EQ(plan("mlx4", "embed_tokens"), Encoding::kMlx4);
}

TEST(QuantizationPlanTest, TakesSmallerBlocksWhereRowsAreNotWholeOnes) {
  EXPECT_EQ(plan("q4_k", "layers.3.mlp.up_proj", 640), Encoding::kQ5_0);
  EXPECT_EQ(plan("q5_k", "layers.3.mlp.up_proj", 640), Encoding::kQ5_1);
  EXPECT_EQ(plan("q6_k", "layers.3.mlp.up_proj", 640), Encoding::kQ8_0);
  EXPECT_EQ(plan("q4_0", "embed_tokens", 640), Encoding::kQ8_0);
  EXPECT_EQ(plan("q4_0", "layers.3.mlp.up_proj", 100), Encoding::kF16);
  EXPECT_EQ(plan("mlx4", "layers.3.mlp.up_proj", 96), Encoding::kBF16);
}

TEST(QuantizationPlanTest, KnowsItsTypes) {
  for (const std::string& name : quantization_names()) {
    EXPECT_EQ(find_quantization(name).name, name);
  }
  EXPECT_THROW(find_quantization("q3_k"), Error);
}

}  // namespace
}  // namespace carat
