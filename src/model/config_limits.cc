#include "model/config_limits.h"

#include <cmath>

#include "carat/error.h"

namespace carat {
namespace {

void check_range(const std::string& subject, const char* name, int64_t value,
                 int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorCode::kCorrupt, subject + ": " + name + " is " +
                                       std::to_string(value) + "; expected " +
                                       std::to_string(low) + " to " +
                                       std::to_string(high));
}

}  // namespace

void check_config_limits(const ModelConfig& config, int64_t layers,
                         const std::string& subject) {
  constexpr int64_t kMaxWidth = int64_t{1} << 20;
  constexpr int64_t kMaxHeads = 1024;
  check_range(subject, "vocab_size", config.vocab_size, 1, int64_t{1} << 24);
  check_range(subject, "num_hidden_layers", layers, 1, kMaxLayers);
  check_range(subject, "hidden_size", config.hidden_size, 1, kMaxWidth);
  check_range(subject, "intermediate_size", config.intermediate_size, 1,
              kMaxWidth);
  check_range(subject, "num_attention_heads", config.num_attention_heads, 1,
              kMaxHeads);
  check_range(subject, "num_key_value_heads", config.num_key_value_heads, 1,
              config.num_attention_heads);
  check_range(subject, "head_dim", config.head_dim, 2, 1024);
  check_range(subject, "max_position_embeddings",
              config.max_position_embeddings, 1, kMaxContextTokens);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorCode::kCorrupt,
                subject + ": num_attention_heads " +
                    std::to_string(config.num_attention_heads) +
                    " is no multiple of num_key_value_heads " +
                    std::to_string(config.num_key_value_heads));
  }
  if (config.head_dim % 2 != 0) {
    throw Error(ErrorCode::kCorrupt, subject + ": head_dim is odd: " +
                                         std::to_string(config.head_dim));
  }
  if (!(config.rms_norm_eps >= 0) || !std::isfinite(config.rms_norm_eps)) {
    throw Error(ErrorCode::kCorrupt,
                subject + ": rms_norm_eps must be a number >= 0");
  }
}

}  // namespace carat
