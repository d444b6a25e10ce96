#include "model/synthetic_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"
#include "formats/gguf.h"
#include "model/shapes.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

// The 4B's structure in miniature: grouped heads, a window, scaled RoPE.
ModelConfig tiny_config() {
  ModelConfig config = model_shape("gemma3-4b");
  config.vocab_size = 300;
  config.hidden_size = 96;
  config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  config.max_position_embeddings = 256;
  config.query_pre_attn_scalar = 32;
  config.embedding_scale = std::sqrt(96.);
  config.layers.resize(7);
  for (LayerConfig& layer : config.layers) {
    if (layer.sliding_window > 0) layer.sliding_window = 16;
  }
  return config;
}

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class SyntheticModelTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-synthetic-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const SyntheticOptions& options) {
    const fs::path path = folder_ / name;
    write_synthetic_model(path, tiny_config(), options);
    return path;
  }

  fs::path folder_;
};

TEST_F(SyntheticModelTest, EveryEncodingLoadsAndGenerates) {
  for (const Encoding encoding :
       {Encoding::kF32, Encoding::kF16, Encoding::kBF16, Encoding::kQ4_0,
        Encoding::kQ4_1, Encoding::kQ5_0, Encoding::kQ5_1, Encoding::kQ8_0,
        Encoding::kQ2_K, Encoding::kQ3_K, Encoding::kQ4_K, Encoding::kQ5_K,
        Encoding::kQ6_K}) {
    SCOPED_TRACE(encoding_info(encoding).name);
    EngineOptions engine_options;
    engine_options.threads = 1;
    const auto engine =
        Engine::load(write("m.gguf", {.encoding = encoding}), engine_options);
    Session session(*engine);
    const std::vector<int32_t> prompt = engine->tokenizer().encode("ab c\n");
    ASSERT_GT(prompt.size(), 2u);
    GenerateOptions options;
    options.max_tokens = 4;
    options.ignore_eos = true;
    const GenerateResult result = session.generate(prompt, options);
    EXPECT_EQ(result.tokens.size(), 4u);
    double squares = 0;
    for (const float logit : result.first_logits) {
      ASSERT_TRUE(std::isfinite(logit));
      squares += double{logit} * logit;
    }
    // Normed rows times embeddings of deviation 0.5 / sqrt(hidden_size).
    EXPECT_NEAR(std::sqrt(squares / 300), 0.5, 0.15);
  }
}

TEST_F(SyntheticModelTest, TheFileSaysWhatTheConfigSays) {
  const ModelConfig expected = tiny_config();
  const ModelInfo info =
      inspect_model(write("m.gguf", {.encoding = Encoding::kQ8_0}));
  EXPECT_EQ(info.parameters, count_parameters(gemma3_tensors(expected)));
  const ModelConfig& found = info.config;
  EXPECT_EQ(found.model_type, expected.model_type);
  EXPECT_EQ(found.vocab_size, expected.vocab_size);
  EXPECT_EQ(found.hidden_size, expected.hidden_size);
  EXPECT_EQ(found.intermediate_size, expected.intermediate_size);
  EXPECT_EQ(found.num_attention_heads, expected.num_attention_heads);
  EXPECT_EQ(found.num_key_value_heads, expected.num_key_value_heads);
  EXPECT_EQ(found.head_dim, expected.head_dim);
  EXPECT_EQ(found.max_position_embeddings, expected.max_position_embeddings);
  EXPECT_EQ(found.query_pre_attn_scalar, expected.query_pre_attn_scalar);
  EXPECT_EQ(found.embedding_scale, expected.embedding_scale);
  EXPECT_EQ(found.layers, expected.layers);
  EXPECT_NEAR(found.rms_norm_eps, expected.rms_norm_eps, 1e-12);
}

TEST_F(SyntheticModelTest, ThePlanTakesAChunkBeyondTheContextAsAllOfIt) {
  const fs::path path = write("m.gguf", {});
  const int64_t context = tiny_config().max_position_embeddings;
  const MemoryPlan whole = inspect_model(path, 0, context).plan;
  const MemoryPlan huge = inspect_model(path, 0, INT64_MAX).plan;
  EXPECT_EQ(huge.kv_window_bytes, whole.kv_window_bytes);
  EXPECT_EQ(huge.workspace_bytes, whole.workspace_bytes);
}

TEST_F(SyntheticModelTest, SameSeedSameFile) {
  const std::string first = read_whole(write("a.gguf", {.seed = 1}));
  EXPECT_EQ(first, read_whole(write("b.gguf", {.seed = 1})));
  EXPECT_NE(first, read_whole(write("c.gguf", {.seed = 2})));
}

TEST_F(SyntheticModelTest, AVocabularyIsCopied) {
  const fs::path first = write("a.gguf", {});
  const fs::path second = write("b.gguf", {.vocabulary_from = first});
  EXPECT_EQ(read_whole(first), read_whole(second));
  ModelConfig larger = tiny_config();
  larger.vocab_size = 301;
  EXPECT_THROW(write_synthetic_model(folder_ / "c.gguf", larger,
                                     {.vocabulary_from = first}),
               Error);
  EXPECT_FALSE(fs::exists(folder_ / "c.gguf"));
}

TEST_F(SyntheticModelTest, CancellingLeavesNothing) {
  int64_t last = 0;
  SyntheticOptions options;
  options.on_progress = [&](int64_t done, int64_t total) {
    EXPECT_GT(done, last);
    EXPECT_LE(done, total);
    last = done;
    return done < total / 2;
  };
  EXPECT_THROW(write("m.gguf", options), Error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(SyntheticEncodingTest, RowsThatAreNoWholeBlocksTakeSmallerOnes) {
  EXPECT_EQ(synthetic_encoding(Encoding::kQ4_K, 2560), Encoding::kQ4_K);
  EXPECT_EQ(synthetic_encoding(Encoding::kQ4_K, 640), Encoding::kQ5_0);
  EXPECT_EQ(synthetic_encoding(Encoding::kQ6_K, 1152), Encoding::kQ8_0);
  EXPECT_EQ(synthetic_encoding(Encoding::kQ8_0, 40), Encoding::kF16);
}

}  // namespace
}  // namespace carat
