// config.json of a Hugging Face or MLX folder -> ModelConfig.
#ifndef CARAT_MODEL_HF_CONFIG_H_
#define CARAT_MODEL_HF_CONFIG_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "carat/model_config.h"
#include "model/json_section.h"

namespace carat {

/// How MLX packed a matrix.
struct MlxQuantization {
  int bits = 0;   ///< 2, 3, 4, 5, 6 or 8
  int group = 0;  ///< 32, 64 or 128
};

struct HfConfig {
  /// Sizes that neither the file nor the published shape it is of tells are 0:
  /// head_dim, the head counts and vocab_size may be left out of it, and the
  /// tensors tell them. Everything else is checked.
  ModelConfig model;
  bool tie_word_embeddings = true;
  /// `eos_token_id`; may be empty.
  std::vector<int32_t> eos;
  /// Of MLX folders: for all matrices that have scales, but those listed by
  /// role; nullopt there: not quantised.
  std::optional<MlxQuantization> quantization;
  std::map<std::string, std::optional<MlxQuantization>, std::less<>> overrides;
};

/// The configuration of a known family, text-only or nested under
/// `text_config`, in either dialect; a key that is absent or null takes the
/// family's default, and where libraries' defaults differ, the value of the
/// published model of that size. `subject` is the file's name, for messages.
/// Throws: Error{kCorrupt} (a value of another type or out of range, a missing
/// one that can't be known), Error{kUnsupported} (another architecture or
/// quantisation).
/// Source: transformers 5.23 (configuration_gemma3.py), mlx-lm 0.32 (utils.py).
HfConfig parse_hf_config(const nlohmann::json& config,
                         const std::string& subject);

/// `num_hidden_layers`. Throws: Error{kCorrupt} if it is out of range.
int64_t read_hf_layers(const JsonSection& text);

/// `eos_token_id`, an integer or a list of them; empty if absent or null.
/// Throws: Error{kCorrupt}.
std::vector<int32_t> parse_eos_ids(const nlohmann::json& config,
                                   const std::string& subject);

/// Where the text model's tensors lie: what stands before "embed_tokens" in
/// their names. All that are in use, none a suffix of a later one.
const std::vector<std::string_view>& hf_prefixes();

/// "language_model.model.layers.0.mlp.up_proj" -> "layers.0.mlp.up_proj";
/// "language_model.lm_head" -> "lm_head".
std::string_view hf_role(std::string_view name);

}  // namespace carat

#endif  // CARAT_MODEL_HF_CONFIG_H_
