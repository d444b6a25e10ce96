// GGUF metadata and tensor names -> ModelConfig and roles.
// Source: GGUF specification (ggml, docs/gguf.md), "Standardized key-value
// pairs" and "Standardized tensor names".
#include <array>
#include <deque>
#include <map>

#include "carat/error.h"
#include "formats/gguf.h"
#include "formats/quote.h"
#include "model/checkpoint.h"
#include "model/config_limits.h"
#include "model/family.h"
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
    // llama.cpp's word for a model that runs on ids alone.
    if (file_.find_string("tokenizer.ggml.model") == "none") {
      return make_absent_tokenizer(path_.string(), {}, config_.vocab_size);
    }
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

  void read_config() {
    const auto architecture = file_.find_string("general.architecture");
    if (!architecture) {
      fail(ErrorCode::kCorrupt, "no key general.architecture");
    }
    family_ = find_family(*architecture);
    if (family_ == nullptr) {
      fail(ErrorCode::kUnsupported,
           "architecture " + quote(*architecture) +
               " is not supported; supported: " + family_names());
    }
    const GgufKeys keys(file_, std::string(*architecture));
    ModelConfig& c = config_;
    c.model_type = family_->name;
    c.name = std::string(file_.find_string("general.name").value_or(""));
    c.hidden_size = keys.require_int("embedding_length");
    c.intermediate_size = keys.require_int("feed_forward_length");
    c.num_attention_heads = keys.require_int("attention.head_count");
    c.num_key_value_heads = keys.find_int("attention.head_count_kv")
                                .value_or(c.num_attention_heads);
    const int64_t layers = keys.require_int("block_count");
    c.max_position_embeddings = keys.require_int("context_length");
    c.rms_norm_eps = keys.require_float("attention.layer_norm_rms_epsilon");
    const auto head_dim = keys.find_int("attention.key_length");
    if (!head_dim && (c.num_attention_heads < 1 ||
                      c.hidden_size % c.num_attention_heads != 0)) {
      keys.fail("no key " + keys.key("attention.key_length") + " and " +
                keys.key("embedding_length") +
                " is no multiple of the head count");
    }
    c.head_dim = head_dim ? *head_dim : c.hidden_size / c.num_attention_heads;
    if (keys.find_int("attention.value_length").value_or(c.head_dim) !=
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
    family_->read_gguf(keys, layers, config_);
  }

  void index_roles() {
    for (const RoleName& name : kModelRoles)
      add_role(name.gguf, std::string(name.role));
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      const std::string gguf = "blk." + std::to_string(i) + ".";
      const std::string role = "layers." + std::to_string(i) + ".";
      for (const LayerTensor& tensor : family_->layer_tensors) {
        const std::string name = gguf + std::string(tensor.gguf);
        if (file_.find_tensor(name + ".bias") != nullptr) {
          fail(ErrorCode::kUnsupported,
               "tensor " + name + ".bias: biases are not supported");
        }
        add_role(name + ".weight", role + std::string(tensor.role));
      }
    }
  }
  void add_role(std::string_view gguf_name, const std::string& role) {
    const RawTensor* tensor = file_.find_tensor(gguf_name);
    if (tensor == nullptr) return;  // told by whoever needs it
    const bool is_rotated = role.ends_with(".self_attn.q_proj") ||
                            role.ends_with(".self_attn.k_proj");
    if (is_rotated && family_->gguf_rows_in_pairs) {
      RawTensor& copy = reordered_.emplace_back(*tensor);
      copy.paired_head_rows = config_.head_dim;
      tensor = &copy;
    }
    roles_.emplace(role, tensor);
  }

  GgufFile file_;
  const Family* family_ = nullptr;
  std::deque<RawTensor> reordered_;  // views whose rows are to be reordered
  std::map<std::string, const RawTensor*, std::less<>> roles_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf_checkpoint(
    const std::filesystem::path& path) {
  return std::make_unique<GgufCheckpoint>(path);
}

}  // namespace carat
