// Gemma 3: five sliding layers to one global, norms before and after both
// branches, per-head q/k norms, GeGLU, tied embeddings.
// Source: Gemma 3 Technical Report, arXiv:2503.19786; config.json as
// transformers 5.23 (configuration_gemma3.py) and mlx-lm 0.32 read it.
#include "model/gemma3.h"

#include <cmath>
#include <optional>
#include <vector>

#include "formats/quote.h"
#include "model/config_limits.h"
#include "model/hf_config.h"
#include "model/shapes.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kHfNames[] = {"gemma3", "gemma3_text"};

constexpr LayerTensor kLayerTensors[] = {
    {"input_layernorm", "attn_norm", true},
    {"self_attn.q_proj", "attn_q", false},
    {"self_attn.k_proj", "attn_k", false},
    {"self_attn.v_proj", "attn_v", false},
    {"self_attn.o_proj", "attn_output", false},
    {"self_attn.q_norm", "attn_q_norm", true},
    {"self_attn.k_norm", "attn_k_norm", true},
    {"post_attention_layernorm", "post_attention_norm", true},
    {"pre_feedforward_layernorm", "ffn_norm", true},
    {"mlp.gate_proj", "ffn_gate", false},
    {"mlp.up_proj", "ffn_up", false},
    {"mlp.down_proj", "ffn_down", false},
    {"post_feedforward_layernorm", "post_ffw_norm", true},
};

constexpr std::string_view kSliding = "sliding_attention";
constexpr std::string_view kFull = "full_attention";
constexpr double kSlidingTheta = 1e4;
constexpr double kFullTheta = 1e6;
constexpr double kDefaultEps = 1e-6;
constexpr double kDefaultQueryScalar = 256;
constexpr int64_t kDefaultPattern = 6;
constexpr int64_t kDefaultContext = 131072;
// Rows of the multimodal checkpoints' embeddings; those beyond the text
// vocabulary are padding and the image token.
constexpr int64_t kPaddedVocabulary = 262208;
constexpr int64_t kVocabulary = 262144;
constexpr int kChunkTokens = 128;

/// One kind of layer's RoPE.
struct Rope {
  double theta;
  double factor;
};

Rope read_rope(const JsonSection& parameters, const JsonSection& older,
               double theta) {
  // Of both dialects in one file, transformers lets the older one win.
  Rope rope = {parameters.positive("rope_theta", theta), 1};
  for (const JsonSection& section : {older, parameters}) {
    auto type = section.find_string("rope_type");
    if (!type) type = section.find_string("type");
    if (!type) {
      if (section.find("factor") != nullptr) {
        section.fail("RoPE has a factor and no rope_type");
      }
      continue;
    }
    if (*type == "linear") {
      if (section.find("factor") == nullptr) {
        section.fail("linear RoPE scaling has no factor");
      }
      rope.factor = section.positive("factor", 1);
    } else if (*type != "default") {
      section.unsupported("RoPE of type " + quote(*type) +
                          "; supported: default, linear");
    }
    break;
  }
  return rope;
}

std::vector<bool> read_global_layers(const JsonSection& text, int64_t layers) {
  std::vector<bool> global;
  const Json* types = text.find("layer_types");
  if (types != nullptr) {
    if (!types->is_array() || std::ssize(*types) != layers) {
      text.fail(
          "layer_types is " +
          (types->is_array() ? "a list of " + std::to_string(types->size())
                             : json_kind(*types)) +
          ", expected a list of num_hidden_layers = " + std::to_string(layers));
    }
    for (const Json& type : *types) {
      if (type != kSliding && type != kFull) {
        text.unsupported("layer_types: " +
                         (type.is_string() ? quote(type.get<std::string>())
                                           : json_kind(type)) +
                         "; supported: sliding_attention, full_attention");
      }
      global.push_back(type == kFull);
    }
    return global;
  }
  auto pattern = text.find_int("sliding_window_pattern");
  if (!pattern) pattern = text.find_int("_sliding_window_pattern");
  if (!pattern) pattern = kDefaultPattern;
  if (*pattern < 1) {
    text.fail("sliding_window_pattern is " + std::to_string(*pattern) +
              ", expected at least 1");
  }
  for (int64_t i = 0; i < layers; ++i) {
    global.push_back((i + 1) % *pattern == 0);
  }
  return global;
}

void read_layers(const JsonSection& text, int64_t layers,
                 int64_t default_window, ModelConfig& config) {
  const std::vector<bool> global = read_global_layers(text, layers);
  const JsonSection ropes = text.find_section("rope_parameters");
  for (const char* key : {"rope_theta", "rope_type", "factor"}) {
    if (ropes.find(key) != nullptr) {
      ropes.unsupported(
          "rope_parameters for all layers at once; expected them under "
          "sliding_attention and full_attention");
    }
  }
  static const Json empty = Json::object();
  const std::string nobody;
  const Rope sliding =
      read_rope(ropes.find_section(kSliding), JsonSection(empty, nobody),
                text.positive("rope_local_base_freq", kSlidingTheta));
  const Rope full =
      read_rope(ropes.find_section(kFull), text.find_section("rope_scaling"),
                text.positive("rope_theta", kFullTheta));
  const auto window = text.find_int("sliding_window");
  if (window && (*window < 1 || *window > kMaxContextTokens)) {
    text.fail("sliding_window is " + std::to_string(*window) +
              ", expected 1 to " + std::to_string(kMaxContextTokens));
  }
  for (const bool is_global : global) {
    if (is_global) {
      config.layers.push_back({0, full.theta, full.factor});
      continue;
    }
    if (!window && default_window == 0) {
      text.fail("sliding_window is missing, and this is no published size");
    }
    config.layers.push_back(
        {window.value_or(default_window), sliding.theta, sliding.factor});
  }
}

/// The published model with these sizes.
std::optional<ModelConfig> find_published(const ModelConfig& config,
                                          int64_t layers) {
  for (const std::string_view name : shape_names()) {
    ModelConfig shape = model_shape(name);
    if (shape.hidden_size == config.hidden_size &&
        shape.intermediate_size == config.intermediate_size &&
        std::ssize(shape.layers) == layers) {
      return shape;
    }
  }
  return std::nullopt;
}

void check_text(const JsonSection& text) {
  const auto inner = text.find_string("model_type");
  if (inner && *inner != "gemma3_text" && *inner != "gemma3") {
    text.unsupported("text_config: model_type " + quote(*inner) +
                     "; supported: gemma3_text");
  }
  const auto activation = text.find_string("hidden_activation");
  if (activation && *activation != "gelu_pytorch_tanh") {
    text.unsupported("hidden_activation " + quote(*activation) +
                     "; supported: gelu_pytorch_tanh");
  }
  if (text.find_bool("attention_bias").value_or(false)) {
    text.unsupported("attention_bias true");
  }
  if (text.find_bool("use_bidirectional_attention").value_or(false)) {
    text.unsupported("use_bidirectional_attention true");
  }
}

double read_softcap(const JsonSection& text, std::string_view key) {
  const double cap = text.find_float(key).value_or(0);
  if (!(cap >= 0) || !std::isfinite(cap)) {
    text.fail(std::string(key) + " is " + std::to_string(cap) +
              ", expected a number >= 0");
  }
  return cap;
}

ModelConfig read_hf(const JsonSection& top, const JsonSection& text) {
  check_text(text);
  ModelConfig config;
  config.model_type = "gemma3";
  config.name = top.find_string("_name_or_path").value_or("");
  config.hidden_size = text.require_int("hidden_size");
  config.intermediate_size = text.require_int("intermediate_size");
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  const int64_t layers = read_hf_layers(text);
  const std::optional<ModelConfig> published = find_published(config, layers);
  const ModelConfig fallback = published.value_or(ModelConfig{});
  config.num_attention_heads = text.find_int("num_attention_heads")
                                   .value_or(fallback.num_attention_heads);
  config.num_key_value_heads = text.find_int("num_key_value_heads")
                                   .value_or(fallback.num_key_value_heads);
  config.head_dim = text.find_int("head_dim").value_or(fallback.head_dim);
  auto vocabulary = text.find_int("vocab_size");
  if (!vocabulary) vocabulary = top.find_int("vocab_size");
  config.vocab_size = vocabulary.value_or(fallback.vocab_size);
  if (config.vocab_size == kPaddedVocabulary) config.vocab_size = kVocabulary;
  config.max_position_embeddings =
      text.find_int("max_position_embeddings")
          .value_or(published ? fallback.max_position_embeddings
                              : kDefaultContext);
  config.rms_norm_eps = text.find_float("rms_norm_eps").value_or(kDefaultEps);
  config.query_pre_attn_scalar = text.positive(
      "query_pre_attn_scalar",
      published ? fallback.query_pre_attn_scalar : kDefaultQueryScalar);
  config.attn_logit_softcapping = read_softcap(text, "attn_logit_softcapping");
  config.final_logit_softcapping =
      read_softcap(text, "final_logit_softcapping");
  config.default_chunk_tokens = kChunkTokens;
  const int64_t window =
      published ? fallback.layers.front().sliding_window : int64_t{0};
  read_layers(text, layers, window, config);
  return config;
}

void read_gguf(const GgufKeys& keys, int64_t layers, ModelConfig& c) {
  c.default_chunk_tokens = kChunkTokens;
  c.embedding_scale = std::sqrt(static_cast<double>(c.hidden_size));
  // GGUF has no query_pre_attn_scalar; only the 27B (62 layers) differs.
  constexpr int64_t kLayersOf27B = 62;
  c.query_pre_attn_scalar = layers == kLayersOf27B
                                ? static_cast<double>(c.hidden_size) /
                                      static_cast<double>(c.num_attention_heads)
                                : static_cast<double>(c.head_dim);
  c.attn_logit_softcapping =
      keys.find_float("attn_logit_softcapping").value_or(0);
  c.final_logit_softcapping =
      keys.find_float("final_logit_softcapping").value_or(0);
  const int64_t window = keys.find_int("attention.sliding_window").value_or(0);
  if (window < 0 || window > kMaxContextTokens) {
    keys.fail(keys.key("attention.sliding_window") + " is " +
              std::to_string(window));
  }
  const double global_theta = keys.positive("rope.freq_base", kFullTheta);
  const double local_theta = keys.positive("rope.freq_base_swa", kSlidingTheta);
  const int64_t pattern = keys.find_int("attention.sliding_window_pattern")
                              .value_or(kDefaultPattern);
  if (pattern < 1) {
    keys.fail("sliding_window_pattern is " + std::to_string(pattern));
  }
  const double factor = keys.rope_factor();
  for (int64_t i = 0; i < layers; ++i) {
    const bool global = window == 0 || (i + 1) % pattern == 0;
    c.layers.push_back(global ? LayerConfig{0, global_theta, factor}
                              : LayerConfig{window, local_theta, 1.0});
  }
}

}  // namespace

const Family kGemma3 = {
    .name = "gemma3",
    .hf_names = kHfNames,
    .block = {.activation = Activation::kGeluTanh,
              .has_head_norms = true,
              .has_branch_norms = true,
              .feedforward_norm = "pre_feedforward_layernorm"},
    .layer_tensors = kLayerTensors,
    .hf_norm_addend = 1,
    .gguf_rows_in_pairs = false,
    .read_gguf = read_gguf,
    .read_hf = read_hf,
};

}  // namespace carat
