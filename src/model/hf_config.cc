#include "model/hf_config.h"

#include <limits>
#include <utility>

#include "carat/error.h"
#include "formats/json.h"
#include "formats/quote.h"
#include "model/config_limits.h"
#include "model/family.h"

namespace carat {
namespace {

using Json = nlohmann::json;

ModelConfig read_model(const JsonSection& top, const JsonSection& text) {
  const auto type = top.find_string("model_type");
  if (!type) top.fail("model_type is missing");
  const Family* family = find_hf_family(*type);
  if (family == nullptr) {
    top.unsupported("model_type " + quote(*type) +
                    "; supported: " + hf_family_names());
  }
  // A size that was given as 0 must not pass for one that was not given.
  for (const char* key : {"num_attention_heads", "num_key_value_heads",
                          "head_dim", "vocab_size"}) {
    auto value = text.find_int(key);
    if (!value && std::string_view(key) == "vocab_size") {
      value = top.find_int(key);
    }
    if (value && *value < 1) {
      text.fail(std::string(key) + " is " + std::to_string(*value));
    }
  }
  return family->read_hf(top, text);
}

MlxQuantization read_quantization(const JsonSection& section,
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

void read_quantizations(const JsonSection& top, HfConfig& config) {
  const char* key =
      top.find("quantization") ? "quantization" : "quantization_config";
  if (top.find(key) == nullptr) return;
  const JsonSection section = top.find_section(key);
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
      const JsonSection layer = section.find_section(name);
      config.overrides[role] = read_quantization(layer, all);
    } else if (value.is_boolean() && !value.get<bool>()) {
      config.overrides[role] = std::nullopt;
    }
  }
}

}  // namespace

HfConfig parse_hf_config(const Json& json, const std::string& subject) {
  const JsonSection top(json, subject);
  const JsonSection text = top.find("text_config")
                               ? top.find_section("text_config")
                               : JsonSection(json, subject);
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

int64_t read_hf_layers(const JsonSection& text) {
  const int64_t layers = text.require_int("num_hidden_layers");
  if (layers < 1 || layers > kMaxLayers) {
    text.fail("num_hidden_layers is " + std::to_string(layers) +
              ", expected 1 to " + std::to_string(kMaxLayers));
  }
  return layers;
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
