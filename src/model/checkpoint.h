// A model file as the model layer sees it: a config and tensors by role.
#ifndef CARAT_MODEL_CHECKPOINT_H_
#define CARAT_MODEL_CHECKPOINT_H_

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "carat/model_config.h"
#include "carat/options.h"
#include "carat/tokenizer.h"
#include "tensor/raw_tensor.h"

namespace carat {

/// An opened container: a GGUF file, or a Hugging Face or MLX folder. Tensors
/// are named in one way for all containers, Hugging Face's without the leading
/// "model.": "embed_tokens", "norm", "lm_head", "layers.3.self_attn.q_proj",
/// ... and hold the numbers that multiply (Gemma's norms include their 1 +).
/// Immutable; thread-safe.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const ModelConfig& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }
  /// "GGUF v3", "MLX safetensors".
  virtual std::string format() const = 0;
  /// Of all its weight files.
  virtual int64_t file_bytes() const {
    int64_t total = 0;
    for (const RawTensor& tensor : tensors()) total += tensor.bytes();
    return total;
  }
  /// The tensor with this role, or nullptr. A view into the checkpoint.
  virtual const RawTensor* find(std::string_view name) const = 0;
  /// Gives back the memory of a tensor's bytes, which have been read for good.
  virtual void release(const RawTensor& tensor) const = 0;
  /// Every tensor of the text model, under the file's own names.
  virtual const std::vector<RawTensor>& tensors() const = 0;
  virtual std::unique_ptr<Tokenizer> load_tokenizer() const = 0;
  /// The Jinja text that makes a prompt of messages; empty: none.
  virtual std::string chat_template() const { return {}; }
  /// How its makers would draw tokens; greedy if they don't say.
  virtual SamplingOptions sampling_defaults() const { return {}; }

 protected:
  ModelConfig config_;
  std::filesystem::path path_;
};

/// Opens a GGUF file or a folder and checks its configuration; weights stay on
/// disk. Throws: Error{kNotFound, kCorrupt, kUnsupported}.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

/// The same, of one kind each; open_checkpoint chooses.
std::unique_ptr<Checkpoint> open_gguf_checkpoint(
    const std::filesystem::path& path);
std::unique_ptr<Checkpoint> open_hf_checkpoint(
    const std::filesystem::path& folder);

}  // namespace carat

#endif  // CARAT_MODEL_CHECKPOINT_H_
