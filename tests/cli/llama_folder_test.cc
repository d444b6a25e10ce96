// A Llama folder with scaled RoPE and a byte-level tokenizer.json, through the
// built tool: to a GGUF file, and from there to an MLX folder.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "convert/vocabulary_arrays.h"
#include "formats/safetensors_writer.h"
#include "text/byte_level.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class LlamaFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-llama-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    fs::create_directory(folder_ / "hf");
    write_config(/*scaled=*/true);
    write_weights();
    write_tokenizer();
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_config(bool scaled) const {
    json config = {{"model_type", "llama"},
                   {"vocab_size", kRows},
                   {"hidden_size", 64},
                   {"intermediate_size", 64},
                   {"num_hidden_layers", 1},
                   {"num_attention_heads", 2},
                   {"num_key_value_heads", 1},
                   {"head_dim", 32},
                   {"max_position_embeddings", 512},
                   {"rms_norm_eps", 1e-5},
                   {"rope_theta", 10000.0},
                   {"tie_word_embeddings", true},
                   {"eos_token_id", 257}};
    if (scaled) {
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", 8.0},
                                {"low_freq_factor", 1.0},
                                {"high_freq_factor", 4.0},
                                {"original_max_position_embeddings", 256}};
    }
    std::ofstream(folder_ / "hf" / "config.json") << config;
  }

  void write_weights() const {
    SafetensorsWriter writer(folder_ / "hf" / "model.safetensors", "pt");
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
      writer.add_tensor("model." + name + ".weight", "F32", shape);
    };
    add("embed_tokens", {kRows, 64});
    add("norm", {64});
    const std::string layer = "layers.0.";
    add(layer + "input_layernorm", {64});
    add(layer + "post_attention_layernorm", {64});
    for (const char* name : {"q_proj", "o_proj"}) {
      add(layer + "self_attn." + name, {64, 64});
    }
    for (const char* name : {"k_proj", "v_proj"}) {
      add(layer + "self_attn." + name, {32, 64});
    }
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
      add(layer + "mlp." + name, {64, 64});
    }
    std::vector<float> numbers(static_cast<size_t>(writer.tensor_bytes()) / 4);
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<float>(i * 7919 % 1000) / 1000.0f - 0.5f;
    }
    writer.write(std::as_bytes(std::span(numbers)));
    writer.finish();
  }

  void write_tokenizer() const {
    VocabularyArrays arrays;
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(byte);
      append_spelled_bytes(std::string_view(&c, 1),
                           arrays.tokens.emplace_back());
    }
    arrays.tokens.insert(arrays.tokens.end(), {"ab", "<|im_end|>"});
    arrays.types.assign(258, 1);
    arrays.types[257] = 3;
    arrays.merges = {"a b"};
    arrays.byte_level = PreTokenizer::kDigitsApart;
    std::ofstream(folder_ / "hf" / "tokenizer.json") << vocabulary_json(arrays);
  }

  /// What the tool prints in `folder_`.
  std::string run(const std::string& arguments) const {
    const std::string command = "cd '" + folder_.string() +
                                "' && '" CARAT_TOOL "' " + arguments + " 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    std::string text;
    char bytes[4096];
    while (const size_t size = fread(bytes, 1, sizeof(bytes), pipe)) {
      text.append(bytes, size);
    }
    EXPECT_EQ(pclose(pipe), 0) << text;
    return text;
  }

  static constexpr int64_t kRows = 260;
  fs::path folder_;
};

TEST_F(LlamaFolderTest, RopeDivisorsAreShownAndCrossToGguf) {
  EXPECT_NE(run("inspect hf").find("RoPE frequencies divided by 1 to 8\n"),
            std::string::npos);
  run("quantize hf m.gguf --type q8_0");
  const auto divisors = [&](const std::string& model) {
    const json info = json::parse(run("inspect --json " + model));
    return info["config"]["rope_divisors"].get<std::vector<double>>();
  };
  const std::vector<double> there = divisors("hf");
  const std::vector<double> found = divisors("m.gguf");
  EXPECT_EQ(there.size(), 16U);
  ASSERT_EQ(found.size(), there.size());
  for (size_t i = 0; i < there.size(); ++i) {
    EXPECT_NEAR(found[i], there[i], 1e-5);
  }
}

TEST_F(LlamaFolderTest, ByteLevelVocabulariesCrossContainers) {
  write_config(/*scaled=*/false);
  run("quantize hf m.gguf --type q8_0");
  run("quantize m.gguf mlx --type mlx8");
  const auto ids = [&](const std::string& model) {
    return json::parse(
        run("tokenize --json 'ab 12<|im_end|>caf\xc3\xa9 ' --model " +
            model))["ids"];
  };
  const json expected = ids("hf");
  EXPECT_EQ(expected[0], 256);
  EXPECT_EQ(ids("m.gguf"), expected);
  EXPECT_EQ(ids("mlx"), expected);
}

}  // namespace
}  // namespace carat
