// Source: mlx-lm 0.32 (models/gemma3_text.py, models/llama.py).
#include "model/mlx_config.h"

#include <cmath>
#include <cstdint>

#include "carat/error.h"

namespace carat {
namespace {

using Json = nlohmann::ordered_json;

void add_gemma3(const ModelConfig& config, Json& json) {
  Json types = Json::array();
  int64_t window = 0, period = 0;
  LayerConfig local, global = {0, 1e6, 1.0};
  for (const LayerConfig& layer : config.layers) {
    const bool is_global = layer.sliding_window == 0;
    types.push_back(is_global ? "full_attention" : "sliding_attention");
    (is_global ? global : local) = layer;
    if (is_global && period == 0) period = std::ssize(types);
    if (is_global) continue;
    window = layer.sliding_window;
    // mlx-lm scales global layers alone.
    if (layer.rope_factor == 1) continue;
    throw Error(ErrorCode::kUnsupported,
                "config.json can't say a RoPE factor of sliding layers");
  }
  json["architectures"] = {"Gemma3ForCausalLM"};
  json["model_type"] = "gemma3_text";
  // transformers refuses 256.0 here.
  const double scalar = config.query_pre_attn_scalar;
  if (scalar == std::floor(scalar)) {
    json["query_pre_attn_scalar"] = static_cast<int64_t>(scalar);
  } else {
    json["query_pre_attn_scalar"] = scalar;
  }
  json["hidden_activation"] = "gelu_pytorch_tanh";
  // A period beyond the last layer: none is global.
  json["sliding_window_pattern"] =
      period == 0 ? std::ssize(config.layers) + 1 : period;
  json["layer_types"] = types;
  json["rope_theta"] = global.rope_theta;
  json["rope_local_base_freq"] = local.rope_theta;
  if (config.attn_logit_softcapping != 0) {
    json["attn_logit_softcapping"] = config.attn_logit_softcapping;
  }
  if (config.final_logit_softcapping != 0) {
    json["final_logit_softcapping"] = config.final_logit_softcapping;
  }
  if (window > 0) json["sliding_window"] = window;
  if (global.rope_factor != 1) {
    json["rope_scaling"] = {{"rope_type", "linear"},
                            {"factor", global.rope_factor}};
  }
}

/// The numbers of Llama 3's RoPE, which `source` has in either dialect.
Json llama3_scaling(const nlohmann::json& source) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = source.find(key);
    if (found == source.end() || !found->contains("low_freq_factor")) continue;
    Json scaling = {{"rope_type", "llama3"}};
    for (const char* number : {"factor", "low_freq_factor", "high_freq_factor",
                               "original_max_position_embeddings"}) {
      scaling[number] = found->at(number);
    }
    return scaling;
  }
  throw Error(ErrorCode::kUnsupported,
              "config.json can't hold the RoPE divisors of a GGUF file");
}

void add_llama(const ModelConfig& config, const nlohmann::json& source,
               Json& json) {
  json["architectures"] = {"LlamaForCausalLM"};
  json["model_type"] = "llama";
  json["hidden_act"] = "silu";
  json["mlp_bias"] = false;
  json["rope_theta"] = config.layers.front().rope_theta;
  if (config.layers.front().rope_factor != 1) {
    json["rope_scaling"] = {{"rope_type", "linear"},
                            {"factor", config.layers.front().rope_factor}};
  }
  if (!config.rope_divisors.empty()) {
    json["rope_scaling"] = llama3_scaling(source);
  }
}

}  // namespace

Json mlx_config_json(const ModelConfig& config, int bits, int group, bool tied,
                     const nlohmann::json& source) {
  const Json quantization = {
      {"group_size", group}, {"bits", bits}, {"mode", "affine"}};
  Json json = {{"_name_or_path", config.name},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.layers.size()},
               {"num_attention_heads", config.num_attention_heads},
               {"num_key_value_heads", config.num_key_value_heads},
               {"head_dim", config.head_dim},
               {"vocab_size", config.vocab_size},
               {"max_position_embeddings", config.max_position_embeddings},
               {"rms_norm_eps", config.rms_norm_eps},
               {"attention_bias", false},
               {"tie_word_embeddings", tied}};
  if (config.model_type == "gemma3") {
    add_gemma3(config, json);
  } else if (config.model_type == "llama") {
    add_llama(config, source, json);
  } else {
    throw Error(ErrorCode::kUnsupported, "model type '" + config.model_type +
                                             "' can't be written as a folder");
  }
  json["torch_dtype"] = "bfloat16";
  json["quantization"] = quantization;
  json["quantization_config"] = quantization;
  return json;
}

}  // namespace carat
