// What a model family is, as data: its block's variations, its tensors' names
// and how its configuration is read. The arithmetic is transformer.cc's.
#ifndef CARAT_MODEL_FAMILY_H_
#define CARAT_MODEL_FAMILY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "carat/model_config.h"
#include "model/gguf_keys.h"
#include "model/json_section.h"

namespace carat {

/// How a family's transformer block differs from others'.
struct BlockTraits {
  Activation activation;
  /// Queries and keys are normed head by head before RoPE ("self_attn.q_norm",
  /// "self_attn.k_norm").
  bool has_head_norms;
  /// What attention and the MLP give is normed before it is added
  /// ("post_attention_layernorm", "post_feedforward_layernorm").
  bool has_branch_norms;
  /// The role of the norm before the MLP.
  std::string_view feedforward_norm;
};

/// A tensor of each layer: its role is "layers.N." and `role`; a GGUF file
/// calls it "blk.N." and `gguf` and ".weight".
struct LayerTensor {
  std::string_view role;
  std::string_view gguf;
  bool is_norm;
};

struct Family {
  /// ModelConfig::model_type, and GGUF's general.architecture.
  std::string_view name;
  /// model_type in config.json.
  std::span<const std::string_view> hf_names;
  BlockTraits block;
  std::span<const LayerTensor> layer_tensors;
  /// To be added to the norms' weights in Hugging Face and MLX folders.
  float hf_norm_addend;
  /// GGUF files keep a head's rows of q_proj and k_proj as the pairs that RoPE
  /// turns, (0, d/2, 1, d/2 + 1, ...), instead of in two halves.
  bool gguf_rows_in_pairs;

  /// Fills what is the family's own: `config` has the sizes already, and
  /// `layers` is in range. Throws: Error{kCorrupt, kUnsupported}.
  void (*read_gguf)(const GgufKeys& keys, int64_t layers, ModelConfig& config);
  /// The whole config; `text` is the text model's part of `top`, or the same.
  /// Sizes that the tensors tell may be left 0. Throws: as read_gguf.
  ModelConfig (*read_hf)(const JsonSection& top, const JsonSection& text);
};

/// The family called so, or nullptr.
const Family* find_family(std::string_view name);
/// The family of a config.json with this model_type, or nullptr.
const Family* find_hf_family(std::string_view model_type);

/// "gemma3, llama", for messages.
std::string family_names();
std::string hf_family_names();

}  // namespace carat

#endif  // CARAT_MODEL_FAMILY_H_
