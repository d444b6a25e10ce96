// A Hugging Face or MLX folder -> ModelConfig and roles.
#include <map>

#include "base/float_types.h"
#include "carat/error.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"
#include "formats/safetensors_folder.h"
#include "model/checkpoint.h"
#include "model/config_limits.h"
#include "model/family.h"
#include "model/hf_config.h"
#include "model/hf_generation.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Json read_json(const fs::path& path) {
  const MappedFile file(path);
  return parse_json_object(file.bytes(), path.string());
}

std::optional<Encoding> dense_encoding(std::string_view dtype) {
  if (dtype == "F32") return Encoding::kF32;
  if (dtype == "F16") return Encoding::kF16;
  if (dtype == "BF16") return Encoding::kBF16;
  return std::nullopt;
}

Encoding mlx_encoding(int bits) {
  switch (bits) {
    case 2:
      return Encoding::kMlx2;
    case 3:
      return Encoding::kMlx3;
    case 4:
      return Encoding::kMlx4;
    case 5:
      return Encoding::kMlx5;
    case 6:
      return Encoding::kMlx6;
    default:
      return Encoding::kMlx8;
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

class HfCheckpoint : public Checkpoint {
 public:
  explicit HfCheckpoint(const fs::path& path)
      : hf_(read_config(path)),
        generation_(read_hf_generation(path)),
        files_(path) {
    path_ = path;
    config_ = hf_.model;
    family_ = find_family(config_.model_type);
    if (config_.name.empty()) {
      fs::path folder = fs::absolute(path).lexically_normal();
      if (!folder.has_filename()) folder = folder.parent_path();
      config_.name = folder.filename().string();
    }
    find_prefix();
    fill_sizes();
    check_config_limits(config_, std::ssize(config_.layers),
                        (path_ / "config.json").string());
    config_.embedding_scale = embedding_scale();
    index_roles();
  }

  std::string format() const override {
    std::string text = hf_.quantization ? "MLX safetensors" : "safetensors";
    if (files_.files() > 1) {
      text += " in " + std::to_string(files_.files()) + " files";
    }
    return text;
  }
  int64_t file_bytes() const override { return files_.bytes(); }
  const RawTensor* find(std::string_view name) const override {
    const auto it = roles_.find(name);
    return it == roles_.end() ? nullptr : &tensors_[it->second];
  }
  void release(const RawTensor& tensor) const override {
    files_.release(tensor.data);
    files_.release(tensor.affine.scales);
    files_.release(tensor.affine.biases);
  }
  const std::vector<RawTensor>& tensors() const override { return tensors_; }

  std::unique_ptr<Tokenizer> load_tokenizer() const override {
    return load_folder_tokenizer(
        path_, generation_.eos.empty() ? hf_.eos : generation_.eos,
        config_.vocab_size);
  }
  std::string chat_template() const override {
    return generation_.chat_template;
  }
  SamplingOptions sampling_defaults() const override {
    return generation_.sampling;
  }

 private:
  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, path_.string() + ": " + problem);
  }

  static HfConfig read_config(const fs::path& folder) {
    const fs::path path = folder / "config.json";
    return parse_hf_config(read_json(path), path.string());
  }

  void find_prefix() {
    std::optional<std::string_view> found;
    for (const std::string_view prefix : hf_prefixes()) {
      const std::string name = std::string(prefix) + "embed_tokens.weight";
      if (files_.find(name) == nullptr) continue;
      if (found) {
        fail("two text models, under " + quote(*found) + " and " +
             quote(prefix));
      }
      found = prefix;
    }
    if (!found) fail("no tensor embed_tokens.weight, under any known prefix");
    prefix_ = *found;
  }

  // What config.json may leave out.
  void fill_sizes() {
    const auto first_size = [&](const std::string& role) -> int64_t {
      const SafetensorsTensor* tensor =
          files_.find(std::string(prefix_) + role + ".weight");
      return tensor == nullptr || tensor->shape.empty() ? 0 : tensor->shape[0];
    };
    ModelConfig& c = config_;
    if (c.head_dim == 0) c.head_dim = first_size("layers.0.self_attn.q_norm");
    if (c.head_dim > 0) {
      if (c.num_attention_heads == 0) {
        c.num_attention_heads =
            first_size("layers.0.self_attn.q_proj") / c.head_dim;
      }
      if (c.num_key_value_heads == 0) {
        c.num_key_value_heads =
            first_size("layers.0.self_attn.k_proj") / c.head_dim;
      }
    }
    if (c.vocab_size == 0) c.vocab_size = first_size("embed_tokens");
  }

  // Models of bf16 were trained with the factor in bf16, and MLX always rounds
  // it.
  double embedding_scale() const {
    const double exact = hf_.model.embedding_scale;
    const SafetensorsTensor* embedding =
        files_.find(std::string(prefix_) + "embed_tokens.weight");
    const bool rounded = hf_.quantization || embedding->dtype == "BF16" ||
                         files_.has_metadata("format", "mlx");
    if (!rounded) return exact;
    return bf16_to_f32(f32_to_bf16(static_cast<float>(exact)));
  }

  void index_roles() {
    add_role("embed_tokens", std::string(prefix_) + "embed_tokens", false);
    for (const char* name : {"lm_head", "language_model.lm_head"}) {
      if (files_.find(std::string(name) + ".weight") == nullptr) continue;
      add_role("lm_head", name, false);
      break;
    }
    if (!hf_.tie_word_embeddings && !roles_.contains("lm_head")) {
      fail("no tensor lm_head.weight, and tie_word_embeddings is false");
    }
    add_role("norm", std::string(prefix_) + "norm", true);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      const std::string layer = "layers." + std::to_string(i) + ".";
      for (const LayerTensor& tensor : family_->layer_tensors) {
        const std::string name = layer + std::string(tensor.role);
        add_role(name, std::string(prefix_) + name, tensor.is_norm);
      }
    }
  }

  void add_role(const std::string& role, const std::string& name,
                bool is_norm) {
    const SafetensorsTensor* weight = files_.find(name + ".weight");
    if (weight == nullptr) return;  // told by whoever needs it
    if (files_.find(name + ".bias") != nullptr) {
      fail("tensor " + name + ".bias: biases are not supported",
           ErrorCode::kUnsupported);
    }
    const size_t dimensions = is_norm ? 1 : 2;
    if (weight->shape.size() != dimensions || weight->data.empty()) {
      fail("tensor " + weight->name + " has shape " +
           shape_text(weight->shape) + "; expected " +
           (is_norm ? "a vector" : "a matrix"));
    }
    const SafetensorsTensor* scales = files_.find(name + ".scales");
    RawTensor tensor = scales == nullptr ? dense_tensor(*weight)
                                         : affine_tensor(role, *weight, *scales,
                                                         name + ".biases");
    if (is_norm) tensor.addend = family_->hf_norm_addend;
    if (role == "embed_tokens" || role == "lm_head") cut_rows(tensor);
    roles_.emplace(role, tensors_.size());
    tensors_.push_back(std::move(tensor));
  }

  RawTensor dense_tensor(const SafetensorsTensor& weight) const {
    const auto encoding = dense_encoding(weight.dtype);
    if (!encoding) {
      fail("tensor " + weight.name + ": type " + weight.dtype +
               "; supported: F32, F16, BF16, and U32 with scales",
           ErrorCode::kUnsupported);
    }
    return {weight.name, *encoding, weight.shape, weight.data};
  }

  RawTensor affine_tensor(const std::string& role,
                          const SafetensorsTensor& weight,
                          const SafetensorsTensor& scales,
                          const std::string& biases_name) const {
    const SafetensorsTensor* biases = files_.find(biases_name);
    if (biases == nullptr) fail("no tensor " + biases_name);
    const auto encoding = dense_encoding(scales.dtype);
    if (weight.dtype != "U32" || !encoding || biases->dtype != scales.dtype) {
      fail("tensor " + weight.name + ": types " + weight.dtype + ", " +
               scales.dtype + " and " + biases->dtype +
               " of codes, scales and biases; supported: U32 with F32, F16 or "
               "BF16",
           ErrorCode::kUnsupported);
    }
    std::optional<MlxQuantization> packing = hf_.quantization;
    const auto own = hf_.overrides.find(role);
    if (own != hf_.overrides.end()) packing = own->second;
    if (!packing) {
      fail("tensor " + weight.name +
           " has scales, but config.json does not say how it is quantised");
    }
    const int64_t rows = weight.shape[0];
    // A row is whole words, and there are fewer than 2^63 bits in a file.
    const int64_t cols = weight.shape[1] * 32 / packing->bits;
    const std::vector<int64_t> groups = {rows, cols / packing->group};
    if (cols * packing->bits != weight.shape[1] * 32 ||
        cols % packing->group != 0 || scales.shape != groups ||
        biases->shape != groups) {
      fail("tensor " + weight.name + ": codes " + shape_text(weight.shape) +
           ", scales " + shape_text(scales.shape) + ", biases " +
           shape_text(biases->shape) + " do not fit " +
           std::to_string(packing->bits) + " bits in groups of " +
           std::to_string(packing->group));
    }
    RawTensor tensor = {
        weight.name, mlx_encoding(packing->bits), {rows, cols}, weight.data};
    tensor.affine = {packing->group, *encoding, scales.data, biases->data};
    return tensor;
  }

  // Rows beyond the vocabulary are padding.
  void cut_rows(RawTensor& tensor) const {
    const int64_t rows = tensor.rows();
    if (rows <= config_.vocab_size) return;
    const auto cut = [&](std::span<const std::byte> bytes) {
      return bytes.first(bytes.size() / static_cast<size_t>(rows) *
                         static_cast<size_t>(config_.vocab_size));
    };
    tensor.data = cut(tensor.data);
    tensor.affine.scales = cut(tensor.affine.scales);
    tensor.affine.biases = cut(tensor.affine.biases);
    tensor.shape[0] = config_.vocab_size;
  }

  HfConfig hf_;
  HfGeneration generation_;
  const Family* family_ = nullptr;
  SafetensorsFolder files_;
  std::string_view prefix_;
  std::vector<RawTensor> tensors_;
  std::map<std::string, size_t, std::less<>> roles_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_hf_checkpoint(const fs::path& folder) {
  return std::make_unique<HfCheckpoint>(folder);
}

}  // namespace carat
