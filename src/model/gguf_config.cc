// Source: the GGUF specification (ggml, docs/gguf.md), "Standardized key-value
// pairs".
#include "model/gguf_config.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "carat/error.h"

namespace carat {
namespace {

constexpr int64_t kUsualPeriod = 6;
constexpr double kUsualLocalTheta = 1e4;

/// Every how many layers one is global; 0: no layer slides.
int64_t global_period(const ModelConfig& config) {
  const auto count = std::ssize(config.layers);
  const auto is_global = [&](int64_t i) {
    return config.layers[static_cast<size_t>(i)].sliding_window == 0;
  };
  int64_t first = 0;
  while (first < count && !is_global(first)) ++first;
  const int64_t period = first + 1;
  bool all_global = true;
  for (int64_t i = 0; i < count; ++i) all_global &= is_global(i);
  if (all_global) return 0;
  for (int64_t i = 0; i < count; ++i) {
    if (is_global(i) == ((i + 1) % period == 0)) continue;
    throw Error(ErrorCode::kUnsupported,
                "a GGUF file can't say which layers slide: they follow no "
                "period");
  }
  return period;
}

class ConfigWriter {
 public:
  ConfigWriter(GgufFileWriter& writer, const ModelConfig& config)
      : writer_(writer), config_(config) {}

  void write() {
    const ModelConfig& c = config_;
    writer_.add("general.architecture", std::string_view(c.model_type));
    writer_.add("general.name", std::string_view(c.name));
    writer_.add("general.quantization_version", uint32_t{2});
    count("context_length", c.max_position_embeddings);
    count("embedding_length", c.hidden_size);
    count("block_count", std::ssize(c.layers));
    count("feed_forward_length", c.intermediate_size);
    count("attention.head_count", c.num_attention_heads);
    count("attention.head_count_kv", c.num_key_value_heads);
    count("attention.key_length", c.head_dim);
    count("attention.value_length", c.head_dim);
    count("vocab_size", c.vocab_size);
    count("rope.dimension_count", c.head_dim);
    number("attention.layer_norm_rms_epsilon", c.rms_norm_eps);
    if (c.attn_logit_softcapping != 0) {
      number("attn_logit_softcapping", c.attn_logit_softcapping);
    }
    if (c.final_logit_softcapping != 0) {
      number("final_logit_softcapping", c.final_logit_softcapping);
    }
    write_layers();
  }

 private:
  std::string key(std::string_view name) const {
    return config_.model_type + "." + std::string(name);
  }
  void count(std::string_view name, int64_t value) {
    writer_.add(key(name), static_cast<uint32_t>(value));
  }
  void number(std::string_view name, double value) {
    writer_.add(key(name), static_cast<float>(value));
  }

  void write_layers() {
    const int64_t period = global_period(config_);
    const LayerConfig* local = nullptr;
    const LayerConfig* global = nullptr;
    for (const LayerConfig& layer : config_.layers) {
      const LayerConfig*& kind = layer.sliding_window == 0 ? global : local;
      if (kind == nullptr) kind = &layer;
      if (*kind == layer) continue;
      throw Error(ErrorCode::kUnsupported,
                  "a GGUF file can't hold layers of one kind that differ");
    }
    if (local != nullptr) {
      if (local->rope_factor != 1) {
        throw Error(ErrorCode::kUnsupported,
                    "a GGUF file can't say a RoPE factor of sliding layers");
      }
      count("attention.sliding_window", local->sliding_window);
      if (period != kUsualPeriod) {
        count("attention.sliding_window_pattern", period);
      }
      if (local->rope_theta != kUsualLocalTheta) {
        number("rope.freq_base_swa", local->rope_theta);
      }
    }
    if (global == nullptr) return;
    number("rope.freq_base", global->rope_theta);
    if (global->rope_factor == 1) return;
    writer_.add(key("rope.scaling.type"), "linear");
    number("rope.scaling.factor", global->rope_factor);
  }

  GgufFileWriter& writer_;
  const ModelConfig& config_;
};

}  // namespace

void write_gguf_config(GgufFileWriter& writer, const ModelConfig& config) {
  ConfigWriter(writer, config).write();
}

double gguf_query_scalar(const ModelConfig& config) {
  constexpr int kLayersOf27B = 62;
  if (config.model_type == "gemma3" && config.layers.size() == kLayersOf27B) {
    return static_cast<double>(config.hidden_size) /
           static_cast<double>(config.num_attention_heads);
  }
  return static_cast<double>(config.head_dim);
}

}  // namespace carat
