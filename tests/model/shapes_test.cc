#include "model/shapes.h"

#include <gtest/gtest.h>

#include <string>

#include "carat/error.h"

namespace carat {
namespace {

// google/gemma-3-270m and google/gemma-3-1b-pt: the totals of their
// model.safetensors. The others' checkpoints hold vision towers and 64 more
// rows of embeddings; theirs were counted from config.json by another program.
TEST(ShapesTest, ParametersAreThePublishedOnes) {
  const auto count = [](const char* name) {
    return count_parameters(gemma3_tensors(model_shape(name)));
  };
  EXPECT_EQ(count("gemma3-270m"), 268098176);
  EXPECT_EQ(count("gemma3-1b"), 999885952);
  EXPECT_EQ(count("gemma3-4b"), 3880099328);
  EXPECT_EQ(count("gemma3-12b"), 11765788416);
  EXPECT_EQ(count("gemma3-27b"), 27009002240);
}

TEST(ShapesTest, LayersAreFiveSlidingThenOneGlobal) {
  const ModelConfig config = model_shape("gemma3-4b");
  ASSERT_EQ(config.layers.size(), 34u);
  EXPECT_EQ(config.layers[4], (LayerConfig{1024, 1e4, 1}));
  EXPECT_EQ(config.layers[5], (LayerConfig{0, 1e6, 8}));
  EXPECT_EQ(config.layers[33], (LayerConfig{1024, 1e4, 1}));
  EXPECT_EQ(model_shape("gemma3-27b").query_pre_attn_scalar, 168);
}

TEST(ShapesTest, OtherNamesAreRefused) {
  try {
    model_shape("gemma3-2b");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("gemma3-27b"), std::string::npos);
  }
}

}  // namespace
}  // namespace carat
