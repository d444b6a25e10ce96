// Llama: every layer sees everything, RMSNorm before each branch alone, SwiGLU,
// an output matrix of its own or the embeddings'.
// Source: Llama 2, arXiv:2307.09288; The Llama 3 Herd of Models,
// arXiv:2407.21783; config.json as transformers 5.23 reads it
// (configuration_llama.py, modeling_rope_utils.py).
#include "model/llama.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "formats/quote.h"
#include "model/hf_config.h"
#include "quant/decoder.h"

namespace carat {
namespace {

constexpr double kDefaultTheta = 1e4;
constexpr int kChunkTokens = 512;

constexpr std::string_view kHfNames[] = {"llama"};

constexpr LayerTensor kLayerTensors[] = {
    {"input_layernorm", "attn_norm", true},
    {"self_attn.q_proj", "attn_q", false},
    {"self_attn.k_proj", "attn_k", false},
    {"self_attn.v_proj", "attn_v", false},
    {"self_attn.o_proj", "attn_output", false},
    {"post_attention_layernorm", "ffn_norm", true},
    {"mlp.gate_proj", "ffn_gate", false},
    {"mlp.up_proj", "ffn_up", false},
    {"mlp.down_proj", "ffn_down", false},
};

/// Llama 3.1's scaling: low frequencies are divided by the factor, high ones
/// are kept, those between change smoothly.
std::vector<double> llama3_divisors(const JsonSection& rope, double theta,
                                    int64_t head_dim) {
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor",
                          "original_max_position_embeddings"}) {
    if (rope.find(key) == nullptr) {
      rope.fail("llama3 RoPE scaling has no " + std::string(key));
    }
  }
  const double factor = rope.positive("factor", 1);
  const double low = rope.positive("low_freq_factor", 1);
  const double high = rope.positive("high_freq_factor", 1);
  const double context = rope.positive("original_max_position_embeddings", 1);
  if (low >= high) {
    rope.fail(
        "llama3 RoPE scaling: low_freq_factor is not below "
        "high_freq_factor");
  }
  std::vector<double> divisors;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(
        theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double turns = context * frequency / (2 * std::numbers::pi);
    if (turns > high) {
      divisors.push_back(1);
    } else if (turns < low) {
      divisors.push_back(factor);
    } else {
      const double kept = (turns - low) / (high - low);
      divisors.push_back(1 / ((1 - kept) / factor + kept));
    }
  }
  return divisors;
}

// Either dialect: rope_scaling beside rope_theta, or both in rope_parameters.
void read_hf_rope(const JsonSection& text, int64_t layers,
                  ModelConfig& config) {
  const char* key =
      text.find("rope_scaling") ? "rope_scaling" : "rope_parameters";
  const JsonSection rope = text.find_section(key);
  const double theta =
      text.find_section("rope_parameters")
          .positive("rope_theta", text.positive("rope_theta", kDefaultTheta));
  auto type = rope.find_string("rope_type");
  if (!type) type = rope.find_string("type");
  double factor = 1;
  if (!type) {
    if (rope.find("factor")) rope.fail("RoPE has a factor and no rope_type");
  } else if (*type == "linear") {
    if (!rope.find("factor")) rope.fail("linear RoPE scaling has no factor");
    factor = rope.positive("factor", 1);
  } else if (*type == "llama3") {
    config.rope_divisors = llama3_divisors(rope, theta, config.head_dim);
  } else if (*type != "default") {
    rope.unsupported("RoPE of type " + quote(*type) +
                     "; supported: default, linear, llama3");
  }
  config.layers.assign(static_cast<size_t>(layers),
                       LayerConfig{0, theta, factor});
}

ModelConfig read_hf(const JsonSection& top, const JsonSection& text) {
  const auto activation = text.find_string("hidden_act");
  if (activation && *activation != "silu") {
    text.unsupported("hidden_act " + quote(*activation) + "; supported: silu");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (text.find_bool(key).value_or(false)) {
      text.unsupported(std::string(key) + " true");
    }
  }
  ModelConfig config;
  config.model_type = kLlama.name;
  config.name = top.find_string("_name_or_path").value_or("");
  config.default_chunk_tokens = kChunkTokens;
  config.hidden_size = text.require_int("hidden_size");
  config.intermediate_size = text.require_int("intermediate_size");
  const int64_t layers = read_hf_layers(text);
  config.num_attention_heads = text.require_int("num_attention_heads");
  config.num_key_value_heads =
      text.find_int("num_key_value_heads").value_or(config.num_attention_heads);
  const auto head_dim = text.find_int("head_dim");
  if (!head_dim && (config.num_attention_heads < 1 ||
                    config.hidden_size % config.num_attention_heads != 0)) {
    text.fail("no head_dim, and hidden_size " +
              std::to_string(config.hidden_size) +
              " is no multiple of num_attention_heads " +
              std::to_string(config.num_attention_heads));
  }
  config.head_dim =
      head_dim ? *head_dim : config.hidden_size / config.num_attention_heads;
  constexpr int64_t kMostHeadDim = 1024;
  if (config.head_dim < 2 || config.head_dim > kMostHeadDim) {
    text.fail("head_dim is " + std::to_string(config.head_dim) +
              ", expected 2 to " + std::to_string(kMostHeadDim));
  }
  config.vocab_size = text.find_int("vocab_size").value_or(0);
  config.max_position_embeddings =
      text.find_int("max_position_embeddings").value_or(2048);
  config.rms_norm_eps = text.find_float("rms_norm_eps").value_or(1e-6);
  config.query_pre_attn_scalar = static_cast<double>(config.head_dim);
  read_hf_rope(text, layers, config);
  return config;
}

/// Llama 3.1's scaling as converters store it: divisors, in a tensor.
std::vector<double> read_gguf_divisors(const GgufKeys& keys, int64_t head_dim) {
  const RawTensor* tensor = keys.file().find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return {};
  const std::string subject = "tensor " + tensor->name;
  if (tensor->rows() != 1 || tensor->cols() != head_dim / 2) {
    keys.fail(subject + " has " + std::to_string(tensor->rows()) + " rows of " +
              std::to_string(tensor->cols()) + "; expected a vector of " +
              std::to_string(head_dim / 2));
  }
  const std::vector<float> values = read_all_f32(*tensor);
  for (const float value : values) {
    if (!(value > 0) || !std::isfinite(value)) {
      keys.fail(subject + " holds " + std::to_string(value) +
                ", expected positive numbers");
    }
  }
  return {values.begin(), values.end()};
}

void read_gguf(const GgufKeys& keys, int64_t layers, ModelConfig& config) {
  const int64_t rotated =
      keys.find_int("rope.dimension_count").value_or(config.head_dim);
  if (rotated != config.head_dim) {
    keys.fail(keys.key("rope.dimension_count") + " " + std::to_string(rotated) +
                  " differs from the head's size " +
                  std::to_string(config.head_dim),
              ErrorCode::kUnsupported);
  }
  if (keys.find_int("expert_count").value_or(0) > 0) {
    keys.fail("a mixture of experts is not supported", ErrorCode::kUnsupported);
  }
  config.default_chunk_tokens = kChunkTokens;
  config.query_pre_attn_scalar = static_cast<double>(config.head_dim);
  config.rope_divisors = read_gguf_divisors(keys, config.head_dim);
  config.layers.assign(
      static_cast<size_t>(layers),
      LayerConfig{0, keys.positive("rope.freq_base", kDefaultTheta),
                  keys.rope_factor()});
}

}  // namespace

const Family kLlama = {
    .name = "llama",
    .hf_names = kHfNames,
    .block = {.activation = Activation::kSilu,
              .has_head_norms = false,
              .has_branch_norms = false,
              .feedforward_norm = "post_attention_layernorm"},
    .layer_tensors = kLayerTensors,
    .hf_norm_addend = 0,
    .gguf_rows_in_pairs = true,
    .read_gguf = read_gguf,
    .read_hf = read_hf,
};

}  // namespace carat
