#include "model/synthetic_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"
#include "tests/model/folder_builder.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class SyntheticFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-mlx-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(const std::string& name, const SyntheticOptions& options) {
    write_synthetic_model(root_ / name, tiny_folder_config(), options);
    return root_ / name;
  }

  static std::vector<float> logits(const fs::path& path,
                                   const std::string& backend) {
    EngineOptions options;
    options.backend = backend;
    options.threads = 1;
    const auto engine = Engine::load(path, options);
    Session session(*engine);
    const std::vector<int32_t> ids = {2, 17, 250, 3, 99, 4, 180};
    const auto row = session.prefill(ids);
    return {row.begin(), row.end()};
  }

  fs::path root_;
};

// The reference reads the codes' exact values; the cpu backend rounds
// activations to 8 bits and, here, nothing else.
TEST_F(SyntheticFolderTest, EveryPackingRunsOnEveryBackend) {
  for (const Encoding encoding :
       {Encoding::kMlx2, Encoding::kMlx3, Encoding::kMlx4, Encoding::kMlx5,
        Encoding::kMlx6, Encoding::kMlx8}) {
    const std::string name(encoding_info(encoding).name);
    SCOPED_TRACE(name);
    const fs::path path = write(name, {.encoding = encoding});
    const auto expected = logits(path, "reference");
    const auto found = logits(path, "cpu");
    ASSERT_EQ(found.size(), 300u);
    double squares = 0, errors = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      squares += double{expected[i]} * expected[i];
      errors += std::pow(double{found[i]} - expected[i], 2);
    }
    // Normed rows times embeddings of deviation 0.5 / sqrt(hidden_size).
    EXPECT_NEAR(std::sqrt(squares / 300), 0.5, 0.2);
    EXPECT_LT(std::sqrt(errors / squares), 0.05);
  }
}

TEST_F(SyntheticFolderTest, TheFolderSaysWhatTheConfigSays) {
  const ModelConfig expected = tiny_folder_config();
  const ModelInfo info =
      inspect_model(write("m", {.encoding = Encoding::kMlx4}));
  EXPECT_EQ(info.format, "MLX safetensors");
  EXPECT_EQ(info.parameters, count_parameters(gemma3_tensors(expected)));
  EXPECT_EQ(info.config.layers, expected.layers);
  EXPECT_EQ(info.config.name, "tiny with random weights");
  EXPECT_EQ(info.config.head_dim, expected.head_dim);
  EXPECT_EQ(info.config.query_pre_attn_scalar, expected.query_pre_attn_scalar);
  EXPECT_EQ(info.config.vocab_size, expected.vocab_size);
}

TEST_F(SyntheticFolderTest, SameSeedSameBytes) {
  const auto weights = [&](const char* name, uint64_t seed) {
    return read_whole(write(name, {.encoding = Encoding::kMlx8, .seed = seed}) /
                      "model.safetensors");
  };
  const std::string first = weights("a", 1);
  EXPECT_EQ(first, weights("b", 1));
  EXPECT_NE(first, weights("c", 2));
}

TEST_F(SyntheticFolderTest, AppearsWholeOrNotAtAll) {
  SyntheticOptions options = {.encoding = Encoding::kMlx4};
  options.on_progress = [](int64_t done, int64_t total) {
    return done < total / 2;
  };
  EXPECT_THROW(write("m", options), Error);
  EXPECT_TRUE(fs::is_empty(root_));
  options.on_progress = {};
  write("m", options);
  EXPECT_THROW(write("m", options), Error) << "not empty";
  EXPECT_TRUE(fs::exists(root_ / "m" / "model.safetensors"));
  fs::create_directory(root_ / "empty");
  write("empty", options);
  EXPECT_TRUE(fs::exists(root_ / "empty" / "model.safetensors"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), {}), 2);
}

TEST_F(SyntheticFolderTest, RunsOnIdsWithoutATokenizer) {
  const fs::path path = write("m", {.encoding = Encoding::kMlx4});
  EngineOptions options;
  options.threads = 1;
  const auto engine = Engine::load(path, options);
  EXPECT_EQ(engine->tokenizer().eos().size(), 1u);
  EXPECT_EQ(engine->tokenizer().vocab_size(), 300);
  Session session(*engine);
  const std::vector<int32_t> ids = {2, 17};
  GenerateOptions generate;
  generate.max_tokens = 4;
  generate.ignore_eos = true;
  EXPECT_EQ(session.generate(ids, generate).tokens.size(), 4u);
  try {
    engine->tokenizer().encode("text");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find("tokenizer.json"),
              std::string::npos);
  }
}

TEST_F(SyntheticFolderTest, KeepsTemplateAndSamplingDefaults) {
  const fs::path path = write("m", {.encoding = Encoding::kMlx4});
  const auto load = [&] {
    EngineOptions options;
    options.threads = 1;
    return Engine::load(path, options);
  };
  EXPECT_EQ(load()->chat_template(), "");
  EXPECT_EQ(load()->sampling_defaults().temperature, 0);
  std::ofstream(path / "generation_config.json")
      << R"({"do_sample": true, "top_k": 64, "top_p": 0.95})";
  std::ofstream(path / "tokenizer_config.json")
      << R"({"chat_template": [{"name": "tool", "template": "no"},)"
      << R"({"name": "default", "template": "{{ a }}"}]})";
  const auto engine = load();
  EXPECT_EQ(engine->chat_template(), "{{ a }}");
  EXPECT_EQ(engine->sampling_defaults().temperature, 1);
  EXPECT_EQ(engine->sampling_defaults().top_k, 64);
  EXPECT_EQ(engine->sampling_defaults().top_p, 0.95);
  EXPECT_EQ(engine->tokenizer().eos().size(), 1u);  // config.json's
  std::ofstream(path / "chat_template.jinja") << "{{ b }}\n";
  EXPECT_EQ(load()->chat_template(), "{{ b }}\n");
  for (const char* broken : {"{", "[]", R"({"do_sample": true, "top_p": 2})",
                             R"({"do_sample": true, "top_k": "many"})",
                             R"({"eos_token_id": [-1]})"}) {
    std::ofstream(path / "generation_config.json") << broken;
    try {
      load();
      ADD_FAILURE() << "accepted " << broken;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_NE(std::string(error.what()).find("generation_config.json"),
                std::string::npos);
    }
  }
}

// Its 262,145th token is an image's, which has no embedding.
TEST_F(SyntheticFolderTest, TheRealTokenizerGoesWithIt) {
  const fs::path packed =
      fs::path(CARAT_SHARED_DATA) / "gemma3-tokenizer" / "tokenizer.json.xz";
  if (!fs::exists(packed)) GTEST_SKIP() << packed << " is not there";
  const fs::path json = root_ / "tokenizer.json";
  const std::string command =
      "xz -dc '" + packed.string() + "' > '" + json.string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  ModelConfig config = tiny_folder_config();
  config.vocab_size = 262144;
  config.layers.resize(1);
  const fs::path path = root_ / "m";
  write_synthetic_model(path, config,
                        {.encoding = Encoding::kMlx4, .vocabulary_from = json});
  EngineOptions options;
  options.threads = 1;
  const auto engine = Engine::load(path, options);
  const Tokenizer& tokenizer = engine->tokenizer();
  EXPECT_EQ(tokenizer.encode("Hello, world"),
            (std::vector<int32_t>{2, 9259, 236764, 1902}));
  EXPECT_EQ(load_tokenizer(path)->encode("Hello"), tokenizer.encode("Hello"));
  // config.json has one; generation_config.json goes before it.
  ASSERT_EQ(tokenizer.eos().size(), 1u);
  std::ofstream(path / "generation_config.json")
      << R"({"eos_token_id": [1, 106]})";
  const auto eos = load_tokenizer(path);
  EXPECT_EQ(std::vector<int32_t>(eos->eos().begin(), eos->eos().end()),
            (std::vector<int32_t>{1, 106}));
  Session session(*engine);
  const std::vector<int32_t> image = tokenizer.encode("<image_soft_token>");
  ASSERT_EQ(image.back(), 262144);
  EXPECT_THROW(session.prefill(image), Error);
}

}  // namespace
}  // namespace carat
