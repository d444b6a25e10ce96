// A transformer over ragged batches of sequences.
#ifndef CARAT_MODEL_MODEL_H_
#define CARAT_MODEL_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "cache/kv_cache.h"
#include "carat/model_config.h"
#include "model/workspace.h"

namespace carat {

/// Which positions of a sequence's tokens go through the whole model. The
/// others only fill the KV cache: of the last layer they need nothing but keys
/// and values, and of the lm_head nothing at all.
enum class LogitsWanted : uint8_t { kNone, kLast, kAll };

/// The next tokens (>= 1, each in the vocabulary) of one sequence.
struct BatchSequence {
  KvSequence* sequence = nullptr;
  std::span<const int32_t> tokens;
  LogitsWanted logits = LogitsWanted::kNone;
};

/// Immutable weights and the forward pass. One thread at a time.
class Model {
 public:
  virtual ~Model() = default;

  const ModelConfig& config() const { return config_; }
  /// The cache its sequences need.
  KvCacheShape cache_shape() const { return carat::cache_shape(config_); }
  /// Bytes of packed weights.
  virtual int64_t weight_bytes() const = 0;

  /// Appends the tokens of several sequences (all of one KvCache of
  /// cache_shape(), each at most once) and submits the work. Returns the wanted
  /// logits [rows, vocab_size], in the order of the sequences and their
  /// positions: a view into `workspace`, valid until its next use. The bits of
  /// a row depend on its own sequence's tokens alone.
  /// Throws: Error{kInvalidArgument}, Error{kOutOfMemory}.
  virtual Matrix forward(std::span<const BatchSequence> batch,
                         Workspace& workspace) = 0;

 protected:
  explicit Model(const ModelConfig& config) : config_(config) {}

 private:
  ModelConfig config_;
};

}  // namespace carat

#endif  // CARAT_MODEL_MODEL_H_
