// What a model is, as data: what varies per layer is a value here, not an `if`
// in a layer.
#ifndef CARAT_MODEL_CONFIG_H_
#define CARAT_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

namespace carat {

/// One transformer layer's own numbers.
struct LayerConfig {
  /// Positions it sees, its own included; 0: all (a global layer).
  int64_t sliding_window = 0;
  double rope_theta = 10000.0;
  /// Positions are divided by it (linear RoPE scaling).
  double rope_factor = 1.0;

  bool operator==(const LayerConfig&) const = default;
};

/// A plain value; names are those of Hugging Face's config.json.
struct ModelConfig {
  std::string model_type;  ///< "gemma3", "llama"
  std::string name;        ///< the checkpoint's own name, may be empty
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  /// Scores are multiplied by this^-0.5.
  double query_pre_attn_scalar = 0;
  /// 0: none.
  double attn_logit_softcapping = 0;
  double final_logit_softcapping = 0;
  /// Multiplies the embeddings; 1: none.
  double embedding_scale = 1;
  /// What each pair's RoPE frequency is divided by, [head_dim / 2]; empty: 1.
  std::vector<double> rope_divisors;
  /// The model family's prefill chunk where the caller names none.
  int default_chunk_tokens = 512;
  std::vector<LayerConfig> layers;  ///< num_hidden_layers of them
};

}  // namespace carat

#endif  // CARAT_MODEL_CONFIG_H_
