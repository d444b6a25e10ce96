// GGUF metadata and tensor names -> ModelConfig and roles.
// Source: GGUF specification (ggml, docs/gguf.md), "Standardized key-value
// pairs" and "Standardized tensor names".
#include <array>
#include <cmath>
#include <map>

#include "carat/error.h"
#include "formats/gguf.h"
#include "model/checkpoint.h"
#include "model/config_limits.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

struct RoleName {
  std::string_view gguf;
  std::string_view role;
};

constexpr std::array<RoleName, 3> kModelRoles = {{
    {"token_embd.weight", "embed_tokens"},
    {"output_norm.weight", "norm"},
    {"output.weight", "lm_head"},
}};

constexpr std::array<RoleName, 13> kGemma3LayerRoles = {{
    {"attn_norm.weight", "input_layernorm"},
    {"attn_q.weight", "self_attn.q_proj"},
    {"attn_k.weight", "self_attn.k_proj"},
    {"attn_v.weight", "self_attn.v_proj"},
    {"attn_output.weight", "self_attn.o_proj"},
    {"attn_q_norm.weight", "self_attn.q_norm"},
    {"attn_k_norm.weight", "self_attn.k_norm"},
    {"post_attention_norm.weight", "post_attention_layernorm"},
    {"ffn_norm.weight", "pre_feedforward_layernorm"},
    {"ffn_gate.weight", "mlp.gate_proj"},
    {"ffn_up.weight", "mlp.up_proj"},
    {"ffn_down.weight", "mlp.down_proj"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm"},
}};

class GgufCheckpoint : public Checkpoint {
 public:
  explicit GgufCheckpoint(const std::filesystem::path& path) : file_(path) {
    path_ = path;
    read_config();
    index_roles();
  }

  std::string format() const override {
    return "GGUF v" + std::to_string(file_.version());
  }
  int64_t file_bytes() const override {
    return static_cast<int64_t>(std::filesystem::file_size(path_));
  }
  const RawTensor* find(std::string_view name) const override {
    const auto it = roles_.find(name);
    return it == roles_.end() ? nullptr : it->second;
  }
  void release(const RawTensor& tensor) const override {
    file_.release(tensor);
  }
  const std::vector<RawTensor>& tensors() const override {
    return file_.tensors();
  }
  std::unique_ptr<Tokenizer> load_tokenizer() const override {
    return load_gguf_tokenizer(file_);
  }
  std::string chat_template() const override {
    return std::string(
        file_.find_string("tokenizer.chat_template").value_or(""));
  }

 private:
  [[noreturn]] void fail(ErrorCode code, const std::string& message) const {
    throw Error(code, path_.string() + ": " + message);
  }

  std::string key(std::string_view suffix) const {
    return architecture_ + "." + std::string(suffix);
  }
  int64_t required_int(std::string_view suffix) const {
    const auto value = file_.find_int(key(suffix));
    if (!value) fail(ErrorCode::kCorrupt, "no key " + key(suffix));
    return *value;
  }

  void read_config() {
    const auto architecture = file_.find_string("general.architecture");
    if (!architecture) {
      fail(ErrorCode::kCorrupt, "no key general.architecture");
    }
    architecture_ = *architecture;
    if (architecture_ != "gemma3") {
      fail(ErrorCode::kUnsupported, "architecture '" + architecture_ +
                                        "' is not supported; supported: "
                                        "gemma3");
    }
    ModelConfig& c = config_;
    c.model_type = architecture_;
    c.name = std::string(file_.find_string("general.name").value_or(""));
    c.hidden_size = required_int("embedding_length");
    c.intermediate_size = required_int("feed_forward_length");
    c.num_attention_heads = required_int("attention.head_count");
    c.num_key_value_heads = file_.find_int(key("attention.head_count_kv"))
                                .value_or(c.num_attention_heads);
    const int64_t layers = required_int("block_count");
    c.max_position_embeddings = required_int("context_length");
    const auto eps = file_.find_float(key("attention.layer_norm_rms_epsilon"));
    if (!eps) {
      fail(ErrorCode::kCorrupt,
           "no key " + key("attention.layer_norm_rms_epsilon"));
    }
    c.rms_norm_eps = *eps;
    const auto head_dim = file_.find_int(key("attention.key_length"));
    if (!head_dim && (c.num_attention_heads < 1 ||
                      c.hidden_size % c.num_attention_heads != 0)) {
      fail(ErrorCode::kCorrupt, "no key " + key("attention.key_length") +
                                    " and " + key("embedding_length") +
                                    " is no multiple of the head count");
    }
    c.head_dim = head_dim ? *head_dim : c.hidden_size / c.num_attention_heads;
    if (file_.find_int(key("attention.value_length")).value_or(c.head_dim) !=
        c.head_dim) {
      fail(ErrorCode::kUnsupported,
           "attention.value_length differs from attention.key_length");
    }
    const RawTensor* embedding = file_.find_tensor("token_embd.weight");
    if (embedding == nullptr) {
      fail(ErrorCode::kCorrupt, "no tensor token_embd.weight");
    }
    c.vocab_size = embedding->rows();
    check_config_limits(config_, layers, path_.string());
    read_gemma3_config(layers);
  }

  void read_gemma3_config(int64_t layers) {
    ModelConfig& c = config_;
    c.default_chunk_tokens = 128;
    c.embedding_scale = std::sqrt(static_cast<double>(c.hidden_size));
    // GGUF has no query_pre_attn_scalar; only the 27B (62 layers) differs.
    constexpr int64_t kLayersOf27B = 62;
    c.query_pre_attn_scalar =
        layers == kLayersOf27B ? static_cast<double>(c.hidden_size) /
                                     static_cast<double>(c.num_attention_heads)
                               : static_cast<double>(c.head_dim);
    c.attn_logit_softcapping =
        file_.find_float(key("attn_logit_softcapping")).value_or(0);
    c.final_logit_softcapping =
        file_.find_float(key("final_logit_softcapping")).value_or(0);
    const int64_t window =
        file_.find_int(key("attention.sliding_window")).value_or(0);
    if (window < 0 || window > kMaxContextTokens) {
      fail(ErrorCode::kCorrupt,
           key("attention.sliding_window") + " is " + std::to_string(window));
    }
    const double global_theta =
        file_.find_float(key("rope.freq_base")).value_or(1e6);
    const double local_theta =
        file_.find_float(key("rope.freq_base_swa")).value_or(1e4);
    const int64_t pattern =
        file_.find_int(key("attention.sliding_window_pattern")).value_or(6);
    double factor = 1;
    const auto scaling = file_.find_string(key("rope.scaling.type"));
    if (scaling && *scaling != "none") {
      if (*scaling != "linear") {
        fail(ErrorCode::kUnsupported, "rope scaling '" + std::string(*scaling) +
                                          "'; supported: none, linear");
      }
      factor = file_.find_float(key("rope.scaling.factor")).value_or(1);
    }
    for (const double value : {global_theta, local_theta, factor}) {
      if (!(value > 0) || !std::isfinite(value)) {
        fail(ErrorCode::kCorrupt, "rope parameters must be positive numbers");
      }
    }
    if (pattern < 1) {
      fail(ErrorCode::kCorrupt,
           "sliding_window_pattern is " + std::to_string(pattern));
    }
    for (int64_t i = 0; i < layers; ++i) {
      const bool global = window == 0 || (i + 1) % pattern == 0;
      c.layers.push_back(global ? LayerConfig{0, global_theta, factor}
                                : LayerConfig{window, local_theta, 1.0});
    }
  }

  void index_roles() {
    for (const RoleName& name : kModelRoles) add_role(name.gguf, name.role);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      const std::string gguf = "blk." + std::to_string(i) + ".";
      const std::string role = "layers." + std::to_string(i) + ".";
      for (const RoleName& name : kGemma3LayerRoles) {
        add_role(gguf + std::string(name.gguf), role + std::string(name.role));
      }
    }
  }
  void add_role(std::string_view gguf_name, std::string_view role) {
    const RawTensor* tensor = file_.find_tensor(gguf_name);
    if (tensor != nullptr) roles_.emplace(role, tensor);
  }

  GgufFile file_;
  std::string architecture_;
  std::map<std::string, const RawTensor*, std::less<>> roles_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf_checkpoint(
    const std::filesystem::path& path) {
  return std::make_unique<GgufCheckpoint>(path);
}

}  // namespace carat
