#include "model/hf_config.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "carat/error.h"
#include "formats/json.h"
#include "formats/quote.h"
#include "model/config_limits.h"
#include "model/shapes.h"

namespace carat {
namespace {

using Json = nlohmann::json;

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

/// Typed look-ups in one object; absent and null are the same.
class Section {
 public:
  Section(const Json& json, const std::string& subject)
      : json_(json), subject_(subject) {}

  const Json* find(std::string_view key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::optional<int64_t> find_int(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<uint64_t>() > kMax)) {
      fail_kind(key, *value, "an integer");
    }
    return value->get<int64_t>();
  }
  std::optional<double> find_float(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) fail_kind(key, *value, "a number");
    return value->get<double>();
  }
  std::optional<bool> find_bool(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) fail_kind(key, *value, "a boolean");
    return value->get<bool>();
  }
  std::optional<std::string> find_string(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) fail_kind(key, *value, "a string");
    return value->get<std::string>();
  }
  /// An empty object where `key` is absent.
  Section find_section(std::string_view key) const {
    static const Json empty = Json::object();
    const Json* value = find(key);
    if (value == nullptr) return {empty, subject_};
    if (!value->is_object()) fail_kind(key, *value, "an object");
    return {*value, subject_};
  }
  int64_t require_int(std::string_view key) const {
    const auto value = find_int(key);
    if (!value) fail(std::string(key) + " is missing");
    return *value;
  }
  double positive(std::string_view key, double fallback) const {
    const double value = find_float(key).value_or(fallback);
    if (!(value > 0) || !std::isfinite(value)) {
      fail(std::string(key) + " is " + std::to_string(value) +
           ", expected a positive number");
    }
    return value;
  }

  const Json& json() const { return json_; }
  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, subject_ + ": " + problem);
  }
  [[noreturn]] void unsupported(const std::string& problem) const {
    fail(problem, ErrorCode::kUnsupported);
  }

 private:
  [[noreturn]] void fail_kind(std::string_view key, const Json& value,
                              const char* expected) const {
    fail(std::string(key) + " is " + json_kind(value) + ", expected " +
         expected);
  }

  const Json& json_;
  const std::string& subject_;
};

/// One kind of layer's RoPE.
struct Rope {
  double theta;
  double factor;
};

Rope read_rope(const Section& parameters, const Section& older, double theta) {
  // Of both dialects in one file, transformers lets the older one win.
  Rope rope = {parameters.positive("rope_theta", theta), 1};
  for (const Section& section : {older, parameters}) {
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

std::vector<bool> read_global_layers(const Section& text, int64_t layers) {
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

void read_layers(const Section& text, int64_t layers, int64_t default_window,
                 ModelConfig& config) {
  const std::vector<bool> global = read_global_layers(text, layers);
  const Section ropes = text.find_section("rope_parameters");
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
      read_rope(ropes.find_section(kSliding), Section(empty, nobody),
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

void check_architecture(const Section& top, const Section& text) {
  const auto type = top.find_string("model_type");
  if (!type) top.fail("model_type is missing");
  if (*type != "gemma3" && *type != "gemma3_text") {
    top.unsupported("model_type " + quote(*type) +
                    "; supported: gemma3, gemma3_text");
  }
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

double read_softcap(const Section& text, std::string_view key) {
  const double cap = text.find_float(key).value_or(0);
  if (!(cap >= 0) || !std::isfinite(cap)) {
    text.fail(std::string(key) + " is " + std::to_string(cap) +
              ", expected a number >= 0");
  }
  return cap;
}

ModelConfig read_model(const Section& top, const Section& text) {
  check_architecture(top, text);
  ModelConfig config;
  config.model_type = "gemma3";
  config.name = top.find_string("_name_or_path").value_or("");
  config.hidden_size = text.require_int("hidden_size");
  config.intermediate_size = text.require_int("intermediate_size");
  const int64_t layers = text.require_int("num_hidden_layers");
  if (layers < 1 || layers > kMaxLayers) {
    text.fail("num_hidden_layers is " + std::to_string(layers) +
              ", expected 1 to " + std::to_string(kMaxLayers));
  }
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
  config.default_chunk_tokens = 128;
  const int64_t window =
      published ? fallback.layers.front().sliding_window : int64_t{0};
  read_layers(text, layers, window, config);
  // A size that was given as 0 must not pass for one that was not given.
  for (const char* key :
       {"num_attention_heads", "num_key_value_heads", "head_dim"}) {
    const auto value = text.find_int(key);
    if (value && *value < 1) {
      text.fail(std::string(key) + " is " + std::to_string(*value));
    }
  }
  if (vocabulary && *vocabulary < 1) {
    text.fail("vocab_size is " + std::to_string(*vocabulary));
  }
  return config;
}

MlxQuantization read_quantization(const Section& section,
                                  const MlxQuantization& fallback) {
  const auto mode = section.find_string("mode");
  if (mode && *mode != "affine") {
    section.unsupported("quantization mode " + quote(*mode) +
                        "; supported: affine");
  }
  const int64_t bits = section.find_int("bits").value_or(fallback.bits);
  const int64_t group = section.find_int("group_size").value_or(fallback.group);
  if (bits < 2 || bits > 8 || bits == 7) {
    section.unsupported("quantization: " + std::to_string(bits) +
                        " bits; supported: 2, 3, 4, 5, 6, 8");
  }
  if (group != 32 && group != 64 && group != 128) {
    section.unsupported("quantization: group_size " + std::to_string(group) +
                        "; supported: 32, 64, 128");
  }
  return {static_cast<int>(bits), static_cast<int>(group)};
}

void read_quantizations(const Section& top, HfConfig& config) {
  const char* key =
      top.find("quantization") ? "quantization" : "quantization_config";
  if (top.find(key) == nullptr) return;
  const Section section = top.find_section(key);
  const auto method = section.find_string("quant_method");
  if (method) {
    section.unsupported("quantisation by " + quote(*method) +
                        "; supported: MLX's affine");
  }
  const MlxQuantization all = read_quantization(section, {0, 0});
  config.quantization = all;
  for (const auto& [name, value] : section.json().items()) {
    const std::string role(hf_role(name));
    if (value.is_object()) {
      const Section layer = section.find_section(name);
      config.overrides[role] = read_quantization(layer, all);
    } else if (value.is_boolean() && !value.get<bool>()) {
      config.overrides[role] = std::nullopt;
    }
  }
}

}  // namespace

HfConfig parse_hf_config(const Json& json, const std::string& subject) {
  const Section top(json, subject);
  const Section text = top.find("text_config") ? top.find_section("text_config")
                                               : Section(json, subject);
  HfConfig config;
  config.model = read_model(top, text);
  auto tied = text.find_bool("tie_word_embeddings");
  if (!tied) tied = top.find_bool("tie_word_embeddings");
  config.tie_word_embeddings = tied.value_or(true);
  config.eos = parse_eos_ids(json, subject);
  if (config.eos.empty()) config.eos = parse_eos_ids(text.json(), subject);
  read_quantizations(top, config);
  return config;
}

std::vector<int32_t> parse_eos_ids(const Json& json,
                                   const std::string& subject) {
  std::vector<int32_t> ids;
  const auto found = json.find("eos_token_id");
  if (found == json.end() || found->is_null()) return ids;
  const auto add = [&](const Json& id) {
    constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() > kMax) {
      throw Error(ErrorCode::kCorrupt,
                  subject + ": eos_token_id holds " +
                      (id.is_number() ? id.dump() : json_kind(id)) +
                      ", expected a token id");
    }
    ids.push_back(id.get<int32_t>());
  };
  if (found->is_array()) {
    for (const Json& id : *found) add(id);
  } else {
    add(*found);
  }
  return ids;
}

const std::vector<std::string_view>& hf_prefixes() {
  static const std::vector<std::string_view> prefixes = {
      "language_model.model.", "model.language_model.", "model.", ""};
  return prefixes;
}

std::string_view hf_role(std::string_view name) {
  for (const std::string_view prefix :
       {"language_model.model.", "model.language_model.", "model.",
        "language_model."}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

}  // namespace carat
