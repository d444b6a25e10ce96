// A model file as the model layer sees it: a config and tensors by role.
#ifndef CARAT_MODEL_CHECKPOINT_H_
#define CARAT_MODEL_CHECKPOINT_H_

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "carat/model_config.h"
#include "carat/tokenizer.h"
#include "tensor/raw_tensor.h"

namespace carat {

/// An opened container (GGUF; others later). Tensors are named in one way for
/// all containers, Hugging Face's without the leading "model.":
/// "embed_tokens", "norm", "lm_head", "layers.3.self_attn.q_proj", ... and
/// hold the numbers that multiply (Gemma's norms include their 1 +).
/// Immutable; thread-safe.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const ModelConfig& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }
  /// "GGUF v3".
  virtual std::string format() const = 0;
  /// The tensor with this role, or nullptr. A view into the checkpoint.
  virtual const RawTensor* find(std::string_view name) const = 0;
  /// Gives back the memory of a tensor's bytes, which have been read for good.
  virtual void release(const RawTensor& tensor) const = 0;
  /// Every tensor, in file order, under the file's own names.
  virtual const std::vector<RawTensor>& tensors() const = 0;
  virtual std::unique_ptr<Tokenizer> load_tokenizer() const = 0;

 protected:
  ModelConfig config_;
  std::filesystem::path path_;
};

/// Opens a model file and checks its configuration; weights stay on disk.
/// Throws: Error{kNotFound, kCorrupt, kUnsupported}.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

}  // namespace carat

#endif  // CARAT_MODEL_CHECKPOINT_H_
