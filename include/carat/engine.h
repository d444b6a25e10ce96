// Load a model, open a session, run prompts: carat's public API.
#ifndef CARAT_ENGINE_H_
#define CARAT_ENGINE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "carat/error.h"
#include "carat/model_config.h"
#include "carat/options.h"
#include "carat/tokenizer.h"

namespace carat {

/// One weight tensor, as found and as kept.
struct TensorInfo {
  std::string name;
  std::string encoding;  ///< "Q4_K", as in the file
  std::vector<int64_t> shape;
  int64_t file_bytes = 0;
};

/// What a model will need, computed without loading its weights.
struct MemoryPlan {
  int64_t context_tokens = 0;
  int64_t chunk_tokens = 0;
  int64_t weight_bytes = 0;               ///< packed
  int64_t kv_full_bytes = 0;              ///< global layers at the full context
  int64_t kv_window_bytes = 0;            ///< sliding layers: window + chunk
  int64_t workspace_bytes = 0;            ///< transient, of a chunk or two
  int64_t logits_bytes = 0;               ///< one row
  int64_t full_mode_workspace_bytes = 0;  ///< transient of PrefillMode::kFull
                                          ///< for a prompt of context_tokens
  int64_t full_mode_logits_bytes = 0;     ///< all rows, likewise
};

/// What a file holds.
struct ModelInfo {
  std::string format;  ///< "GGUF v3"
  ModelConfig config;
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  std::vector<TensorInfo> tensors;
  MemoryPlan plan;
};

/// Reads a model file's description; no weights are loaded. `context_tokens`
/// and `chunk_tokens` as in the options; 0 is their default.
/// Throws: as Engine::load.
ModelInfo inspect_model(const std::filesystem::path& path,
                        int64_t context_tokens = 0, int64_t chunk_tokens = 0);

/// Opens only the tokenizer of a model file (GGUF), a model folder, a
/// tokenizer.json or a tokenizer.model.
/// Throws: Error{kNotFound, kCorrupt, kUnsupported}.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// Figures of one generation.
struct GenerateStats {
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  double prefill_ms = 0;              ///< start to the first logits
  double time_to_first_token_ms = 0;  ///< start to the first token's text
  double decode_ms = 0;               ///< all tokens after the first
  int64_t chunk_tokens = 0;           ///< as chosen
  int64_t transient_bytes = 0;        ///< workspace and logits in use
  int64_t kv_bytes = 0;               ///< of KV blocks in use at the end

  double prefill_tokens_per_s() const {
    return prefill_ms > 0 ? 1e3 * prompt_tokens / prefill_ms : 0;
  }
  double decode_tokens_per_s() const {
    return decode_ms > 0 ? 1e3 * (generated_tokens - 1) / decode_ms : 0;
  }
};

enum class FinishReason : uint8_t {
  kEos,
  kStop,
  kMaxTokens,
  kContextFull,
  kCancelled,
};
/// "eos", "stop", "max_tokens", "context_full", "cancelled".
std::string_view finish_reason_name(FinishReason reason);

struct GenerateResult {
  std::vector<int32_t> tokens;  ///< generated ids, an ending EOS included
  std::string text;             ///< what on_text received, joined
  FinishReason finish_reason = FinishReason::kMaxTokens;
  GenerateStats stats;
  /// The logits the first generated token was drawn from; [vocab_size].
  std::vector<float> first_logits;
};

class Session;

/// A loaded model. Sessions share it; it must outlive them. Calls of all its
/// sessions together must come from one thread at a time.
class Engine {
 public:
  /// Throws: Error{kNotFound} (no such file), Error{kCorrupt, kUnsupported}
  /// (the file), Error{kInvalidArgument} (an option), Error{kOutOfMemory},
  /// Error{kCancelled} (on_load returned false).
  static std::unique_ptr<Engine> load(const std::filesystem::path& path,
                                      const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelConfig& config() const;
  const Tokenizer& tokenizer() const;
  /// The model's chat template, a Jinja text; empty: it has none.
  const std::string& chat_template() const;
  /// How the model's makers would draw tokens (generation_config.json of a
  /// folder); greedy where they don't say. Used only if a caller passes it on.
  const SamplingOptions& sampling_defaults() const;
  std::string backend_name() const;  ///< "cpu avx512"
  int threads() const;
  int64_t context_tokens() const;
  int64_t weight_bytes() const;  ///< packed, in memory
  /// What an unset PrefillOptions::chunk_tokens means.
  int64_t default_chunk_tokens() const;

 private:
  friend class Session;
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// One sequence and its KV cache. Not thread-safe.
class Session {
 public:
  explicit Session(Engine& engine);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Tokens in the cache: the position of the next one.
  int64_t position() const;
  /// Forgets everything; memory is kept for reuse.
  void reset();

  /// Appends `tokens` (>= 1) and returns the logits of the last [vocab_size],
  /// valid until the next call. PrefillMode::kFull computes and holds every
  /// position's on the way.
  /// Throws: Error{kInvalidArgument} (no token, an id outside the vocabulary, a
  /// chunk < 1, more than the context holds), Error{kCancelled} (the tokens of
  /// finished chunks stay in the cache), Error{kOutOfMemory}.
  std::span<const float> prefill(std::span<const int32_t> tokens,
                                 const PrefillOptions& options = {});

  /// Appends one token; returns its logits. Throws: as prefill.
  std::span<const float> decode(int32_t token);

  /// The logits of every position of `tokens`, appended in chunks; `on_row` is
  /// called in order with (index in tokens, logits [vocab_size]). Only one
  /// chunk's logits are held at a time.
  /// Throws: as prefill.
  void all_logits(
      std::span<const int32_t> tokens, const PrefillOptions& options,
      const std::function<void(int64_t, std::span<const float>)>& on_row);

  /// Runs `prompt` (ids, BOS included where the model wants one), then draws
  /// tokens until an end. Throws: as prefill; also Error{kInvalidArgument} for
  /// sampling options out of range. An empty prompt is an error.
  GenerateResult generate(std::span<const int32_t> prompt,
                          const GenerateOptions& options = {});

  /// Workspace and logits memory now held, in bytes.
  int64_t transient_bytes() const;
  /// KV memory of the blocks in use, in bytes.
  int64_t kv_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carat

#endif  // CARAT_ENGINE_H_
