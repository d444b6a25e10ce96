#include "model/hf_config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "carat/error.h"
#include "model/shapes.h"

namespace carat {
namespace {

using Json = nlohmann::json;

Json tiny() {
  return Json::parse(R"({
    "model_type": "gemma3_text", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "vocab_size": 512, "sliding_window": 16,
    "max_position_embeddings": 1024})");
}

HfConfig parse(const Json& json) { return parse_hf_config(json, "c.json"); }

void expect_error(const Json& json, const std::string& part,
                  ErrorCode code = ErrorCode::kCorrupt) {
  SCOPED_TRACE(part);
  try {
    parse(json);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("c.json: ")) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST(HfConfigTest, MissingKeysTakeTheFamilysDefaults) {
  const HfConfig config = parse(tiny());
  const ModelConfig& model = config.model;
  EXPECT_EQ(model.model_type, "gemma3");
  EXPECT_EQ(model.rms_norm_eps, 1e-6);
  EXPECT_EQ(model.query_pre_attn_scalar, 256);
  EXPECT_EQ(model.attn_logit_softcapping, 0);
  EXPECT_EQ(model.final_logit_softcapping, 0);
  EXPECT_EQ(model.default_chunk_tokens, 128);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.eos.empty());
  EXPECT_FALSE(config.quantization);
  ASSERT_EQ(model.layers.size(), 8u);
  EXPECT_EQ(model.layers[4], (LayerConfig{16, 1e4, 1}));
  EXPECT_EQ(model.layers[5], (LayerConfig{0, 1e6, 1}));
  EXPECT_EQ(model.layers[6], (LayerConfig{16, 1e4, 1}));
}

TEST(HfConfigTest, NullIsAbsent) {
  Json json = tiny();
  for (const char* key :
       {"rms_norm_eps", "query_pre_attn_scalar", "attn_logit_softcapping",
        "rope_scaling", "rope_parameters", "rope_theta", "layer_types",
        "sliding_window_pattern", "eos_token_id", "tie_word_embeddings",
        "quantization", "text_config"}) {
    json[key] = nullptr;
  }
  const HfConfig config = parse(json);
  EXPECT_EQ(config.model.layers, parse(tiny()).model.layers);
  EXPECT_EQ(config.model.query_pre_attn_scalar, 256);
}

// As google/gemma-3-*-it spell theirs.
TEST(HfConfigTest, PublishedModelsAreKnownByTheirSize) {
  struct Published {
    const char* shape;
    const char* text_config;
  };
  for (const Published& published : {
           Published{"gemma3-4b", R"({"hidden_size": 2560,
               "intermediate_size": 10240, "model_type": "gemma3_text",
               "num_hidden_layers": 34, "sliding_window": 1024,
               "rope_scaling": {"factor": 8.0, "rope_type": "linear"}})"},
           Published{"gemma3-12b", R"({"hidden_size": 3840,
               "intermediate_size": 15360, "num_attention_heads": 16,
               "num_hidden_layers": 48, "num_key_value_heads": 8,
               "rope_scaling": {"factor": 8.0, "rope_type": "linear"}})"},
           Published{"gemma3-27b", R"({"head_dim": 128, "hidden_size": 5376,
               "intermediate_size": 21504, "num_attention_heads": 32,
               "num_hidden_layers": 62, "num_key_value_heads": 16,
               "query_pre_attn_scalar": 168, "sliding_window": 1024,
               "vocab_size": 262208,
               "rope_scaling": {"factor": 8.0, "rope_type": "linear"}})"},
       }) {
    SCOPED_TRACE(published.shape);
    Json json = {{"model_type", "gemma3"}, {"eos_token_id", {1, 106}}};
    json["text_config"] = Json::parse(published.text_config);
    const HfConfig config = parse(json);
    const ModelConfig expected = model_shape(published.shape);
    EXPECT_EQ(config.model.num_attention_heads, expected.num_attention_heads);
    EXPECT_EQ(config.model.num_key_value_heads, expected.num_key_value_heads);
    EXPECT_EQ(config.model.head_dim, expected.head_dim);
    EXPECT_EQ(config.model.vocab_size, 262144);
    EXPECT_EQ(config.model.max_position_embeddings, 131072);
    EXPECT_EQ(config.model.query_pre_attn_scalar,
              expected.query_pre_attn_scalar);
    EXPECT_EQ(config.model.layers, expected.layers);
    EXPECT_EQ(config.eos, (std::vector<int32_t>{1, 106}));
  }
}

TEST(HfConfigTest, OtherSizesLeaveWhatTheTensorsTell) {
  Json json = tiny();
  for (const char* key : {"num_attention_heads", "num_key_value_heads",
                          "head_dim", "vocab_size"}) {
    json.erase(key);
  }
  const HfConfig config = parse(json);
  EXPECT_EQ(config.model.num_attention_heads, 0);
  EXPECT_EQ(config.model.num_key_value_heads, 0);
  EXPECT_EQ(config.model.head_dim, 0);
  EXPECT_EQ(config.model.vocab_size, 0);
  json.erase("sliding_window");
  expect_error(json, "sliding_window is missing");
  json["sliding_window_pattern"] = 1;  // no layer slides
  EXPECT_EQ(parse(json).model.layers[0].sliding_window, 0);
}

TEST(HfConfigTest, BothRopeDialectsMeanTheSame) {
  Json older = tiny();
  older["rope_theta"] = 5e5;
  older["rope_local_base_freq"] = 2e4;
  older["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  older["sliding_window_pattern"] = 2;
  Json newer = tiny();
  newer["rope_parameters"] = {
      {"full_attention",
       {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 5e5}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}};
  newer["layer_types"] = Json::array();
  for (int i = 0; i < 8; ++i) {
    newer["layer_types"].push_back(i % 2 == 1 ? "full_attention"
                                              : "sliding_attention");
  }
  const auto layers = parse(newer).model.layers;
  EXPECT_EQ(layers[0], (LayerConfig{16, 2e4, 1}));
  EXPECT_EQ(layers[1], (LayerConfig{0, 5e5, 4}));
  EXPECT_EQ(parse(older).model.layers, layers);
  // The list of layers wins over a pattern.
  newer["sliding_window_pattern"] = 6;
  EXPECT_EQ(parse(newer).model.layers, layers);
  // Without thetas the older keys count, then the defaults.
  newer["rope_parameters"] = {{"full_attention", {{"rope_type", "default"}}}};
  newer["rope_theta"] = 7e5;
  EXPECT_EQ(parse(newer).model.layers[1], (LayerConfig{0, 7e5, 1}));
  EXPECT_EQ(parse(newer).model.layers[0], (LayerConfig{16, 1e4, 1}));
}

TEST(HfConfigTest, RefusesRopeItDoesNotKnow) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny();
    json[key] = value;
    return json;
  };
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
  expect_error(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 8}}),
               "'yarn'", kUnsupported);
  expect_error(with("rope_scaling", {{"factor", 8}}), "no rope_type");
  expect_error(with("rope_scaling", {{"rope_type", "linear"}}), "no factor");
  expect_error(with("rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}),
               "factor is 0");
  expect_error(with("rope_scaling", 8), "rope_scaling is an integer");
  expect_error(with("rope_parameters", {{"rope_theta", 1e6}}), "for all layers",
               kUnsupported);
  expect_error(with("rope_theta", -1), "rope_theta is -1");
  expect_error(with("rope_theta", "1e6"), "rope_theta is a string");
  expect_error(with("sliding_window", 0), "sliding_window is 0");
  expect_error(with("sliding_window_pattern", 0), "pattern is 0");
  expect_error(with("layer_types", Json::array()), "a list of 0");
  expect_error(with("layer_types", std::vector<std::string>(8, "linear")),
               "'linear'", kUnsupported);
}

TEST(HfConfigTest, RefusesOtherArchitecturesAndBadNumbers) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny();
    json[key] = value;
    return json;
  };
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
  expect_error(Json::object(), "model_type is missing");
  expect_error(with("model_type", "mamba"), "'mamba'", kUnsupported);
  expect_error(with("hidden_activation", "silu"), "'silu'", kUnsupported);
  expect_error(with("attention_bias", true), "attention_bias", kUnsupported);
  expect_error(with("use_bidirectional_attention", true), "bidirectional",
               kUnsupported);
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers"}) {
    Json json = tiny();
    json.erase(key);
    expect_error(json, std::string(key) + " is missing");
    expect_error(with(key, "16"), std::string(key) + " is a string");
    expect_error(with(key, 16.5), std::string(key) + " is a number");
    expect_error(with(key, UINT64_MAX), std::string(key));
  }
  expect_error(with("num_hidden_layers", 1000000000), "num_hidden_layers");
  for (const char* key : {"num_attention_heads", "num_key_value_heads",
                          "head_dim", "vocab_size"}) {
    expect_error(with(key, 0), std::string(key) + " is 0");
    expect_error(with(key, -1), std::string(key) + " is -1");
  }
  expect_error(with("query_pre_attn_scalar", 0), "query_pre_attn_scalar");
  expect_error(with("final_logit_softcapping", -1), "final_logit");
  expect_error(with("tie_word_embeddings", 1), "tie_word_embeddings");
  expect_error(with("eos_token_id", "</s>"), "eos_token_id");
  expect_error(with("eos_token_id", {1, -1}), "eos_token_id");
}

TEST(HfConfigTest, ReadsMlxQuantisation) {
  Json json = tiny();
  json["quantization"] = Json::parse(R"({"group_size": 64, "bits": 4,
      "mode": "affine",
      "model.layers.0.self_attn.q_proj": {"group_size": 32, "bits": 8},
      "language_model.model.layers.1.mlp.up_proj": {"bits": 6},
      "language_model.lm_head": false, "model.embed_tokens": true})");
  const HfConfig config = parse(json);
  ASSERT_TRUE(config.quantization);
  EXPECT_EQ(config.quantization->bits, 4);
  EXPECT_EQ(config.quantization->group, 64);
  ASSERT_EQ(config.overrides.size(), 3u);
  EXPECT_EQ(config.overrides.at("layers.0.self_attn.q_proj")->group, 32);
  EXPECT_EQ(config.overrides.at("layers.0.self_attn.q_proj")->bits, 8);
  EXPECT_EQ(config.overrides.at("layers.1.mlp.up_proj")->group, 64);
  EXPECT_EQ(config.overrides.at("layers.1.mlp.up_proj")->bits, 6);
  EXPECT_FALSE(config.overrides.at("lm_head"));

  const auto with = [](const Json& value) {
    Json other = tiny();
    other["quantization"] = value;
    return other;
  };
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
  expect_error(with({{"group_size", 0}, {"bits", 4}}), "group_size 0",
               kUnsupported);
  expect_error(with({{"group_size", 64}, {"bits", 7}}), "7 bits", kUnsupported);
  expect_error(with({{"group_size", 64}, {"bits", "four"}}),
               "bits is a string");
  expect_error(with({{"group_size", 64}, {"bits", 4}, {"mode", "mxfp4"}}),
               "'mxfp4'", kUnsupported);
  Json gptq = tiny();
  gptq["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  expect_error(gptq, "'gptq'", kUnsupported);
}

TEST(HfConfigTest, RolesAreNamesWithoutPrefix) {
  for (const char* prefix :
       {"model.", "language_model.model.", "model.language_model.", ""}) {
    const std::string name = std::string(prefix) + "layers.0.mlp.up_proj";
    EXPECT_EQ(hf_role(name), "layers.0.mlp.up_proj");
  }
  EXPECT_EQ(hf_role("language_model.lm_head"), "lm_head");
}

}  // namespace
}  // namespace carat
