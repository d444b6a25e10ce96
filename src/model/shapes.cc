// Source: the models' config.json on Hugging Face (google/gemma-3-*-pt), and
// for the tensors' names the GGUF specification (ggml, docs/gguf.md).
#include "model/shapes.h"

#include <array>
#include <cmath>

#include "carat/error.h"

namespace carat {
namespace {

struct Shape {
  std::string_view name;
  int64_t hidden_size;
  int64_t layers;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t intermediate_size;
  int64_t sliding_window;
  int64_t context;
  double global_rope_factor;
  double query_pre_attn_scalar;
};

constexpr std::array kShapes = {
    Shape{"gemma3-270m", 640, 18, 4, 1, 256, 2048, 512, 32768, 1, 256},
    Shape{"gemma3-1b", 1152, 26, 4, 1, 256, 6912, 512, 32768, 1, 256},
    Shape{"gemma3-4b", 2560, 34, 8, 4, 256, 10240, 1024, 131072, 8, 256},
    Shape{"gemma3-12b", 3840, 48, 16, 8, 256, 15360, 1024, 131072, 8, 256},
    Shape{"gemma3-27b", 5376, 62, 32, 16, 128, 21504, 1024, 131072, 8, 168},
};

// Others' names for them.
struct Alias {
  std::string_view name;
  std::string_view shape;
};
constexpr std::array kAliases = {
    Alias{"translategemma-4b", "gemma3-4b"},
    Alias{"translategemma-12b", "gemma3-12b"},
    Alias{"translategemma-27b", "gemma3-27b"},
};

constexpr int64_t kVocabSize = 262144;
constexpr int64_t kGlobalEvery = 6;

}  // namespace

std::vector<std::string_view> shape_names() {
  std::vector<std::string_view> names;
  for (const Shape& shape : kShapes) names.push_back(shape.name);
  for (const Alias& alias : kAliases) names.push_back(alias.name);
  return names;
}

ModelConfig model_shape(std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (alias.name != name) continue;
    ModelConfig config = model_shape(alias.shape);
    config.name = name;
    return config;
  }
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    ModelConfig config;
    config.model_type = "gemma3";
    config.name = name;
    config.vocab_size = kVocabSize;
    config.hidden_size = shape.hidden_size;
    config.intermediate_size = shape.intermediate_size;
    config.num_attention_heads = shape.heads;
    config.num_key_value_heads = shape.kv_heads;
    config.head_dim = shape.head_dim;
    config.max_position_embeddings = shape.context;
    config.query_pre_attn_scalar = shape.query_pre_attn_scalar;
    config.embedding_scale = std::sqrt(static_cast<double>(shape.hidden_size));
    config.default_chunk_tokens = 128;
    for (int64_t i = 1; i <= shape.layers; ++i) {
      config.layers.push_back(
          i % kGlobalEvery == 0 ? LayerConfig{0, 1e6, shape.global_rope_factor}
                                : LayerConfig{shape.sliding_window, 1e4, 1.0});
    }
    return config;
  }
  std::string known;
  for (const std::string_view shape : shape_names()) {
    if (!known.empty()) known += ", ";
    known += shape;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "shape '" + std::string(name) + "'; expected one of " + known);
}

std::vector<TensorSpec> gemma3_tensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t ffn = config.intermediate_size;
  const int64_t head = config.head_dim;
  const int64_t q = config.num_attention_heads * head;
  const int64_t kv = config.num_key_value_heads * head;
  std::vector<TensorSpec> tensors = {
      {"token_embd.weight", "embed_tokens", {config.vocab_size, hidden}},
      {"output_norm.weight", "norm", {hidden}},
  };
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    const std::string role = "layers." + std::to_string(i) + ".";
    const std::array<TensorSpec, 13> specs = {{
        {"attn_norm", "input_layernorm", {hidden}},
        {"attn_q", "self_attn.q_proj", {q, hidden}},
        {"attn_k", "self_attn.k_proj", {kv, hidden}},
        {"attn_v", "self_attn.v_proj", {kv, hidden}},
        {"attn_output", "self_attn.o_proj", {hidden, q}},
        {"attn_q_norm", "self_attn.q_norm", {head}},
        {"attn_k_norm", "self_attn.k_norm", {head}},
        {"post_attention_norm", "post_attention_layernorm", {hidden}},
        {"ffn_norm", "pre_feedforward_layernorm", {hidden}},
        {"ffn_gate", "mlp.gate_proj", {ffn, hidden}},
        {"ffn_up", "mlp.up_proj", {ffn, hidden}},
        {"ffn_down", "mlp.down_proj", {hidden, ffn}},
        {"post_ffw_norm", "post_feedforward_layernorm", {hidden}},
    }};
    for (const TensorSpec& spec : specs) {
      tensors.push_back(
          {layer + spec.gguf_name + ".weight", role + spec.role, spec.shape});
    }
  }
  return tensors;
}

int64_t count_parameters(const std::vector<TensorSpec>& tensors) {
  int64_t total = 0;
  for (const TensorSpec& tensor : tensors) {
    int64_t numbers = 1;
    for (const int64_t size : tensor.shape) numbers *= size;
    total += numbers;
  }
  return total;
}

}  // namespace carat
