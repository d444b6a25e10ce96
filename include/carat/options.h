// What callers may choose; every default is what most callers want.
#ifndef CARAT_OPTIONS_H_
#define CARAT_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace carat {

/// Called with (done, total) as work advances, on the calling thread. Returning
/// false asks to stop: the call then throws Error{kCancelled}.
using ProgressCallback = std::function<bool(int64_t done, int64_t total)>;

/// How a model is loaded.
struct EngineOptions {
  /// "auto" (cuda if a device is there that can be used, else cpu), "cpu",
  /// "cuda" or "reference".
  std::string backend = "auto";
  /// Which CUDA device, from 0, in the driver's order. nullopt: the first one;
  /// with "auto", naming one means cuda.
  std::optional<int> device;
  /// CPU instruction set: "auto" for the best there is, "avx512", "vnni256"
  /// (AVX2 with VNNI's dot product), "avx2", on Arm "neon_i8mm",
  /// "neon_dotprod"; or "portable". The answer does not depend on it.
  std::string isa = "auto";
  /// Size of the thread pool; 0: every processor this process may use (affinity
  /// mask and control-group quota). The answer does not depend on it.
  int threads = 0;
  /// Keep each thread to one processor, the calling thread included, if the
  /// pool fills all of them. For programs that do little else.
  bool pin_threads = false;
  /// Most positions a session can hold; nullopt: what the model was trained
  /// for, or what the device's memory holds if that is less. Memory is used as
  /// it fills, not before; that a whole session fits is checked before loading.
  std::optional<int64_t> context_tokens;
  /// Quantise dense matrices (F32, F16, BF16) to this type while loading, as
  /// quantize_model would: a name of its types; empty: 8 bits in groups of 32
  /// (the reference backend: as they are). Quantised matrices stay as they are.
  std::string quantize;
  /// (done, total) in bytes of the file's tensors.
  ProgressCallback on_load;
};

/// How the prompt is run.
enum class PrefillMode : uint8_t {
  /// In chunks that only fill the KV cache; of the last token alone the last
  /// layer and the logits are computed.
  kChunked,
  /// The whole prompt at once through every layer, with the logits of every
  /// position computed and kept: what other engines do; for comparison.
  kFull,
};

struct PrefillOptions {
  PrefillMode mode = PrefillMode::kChunked;
  /// Tokens per chunk, >= 1; nullopt: the backend's or the model family's
  /// choice. The answer does not depend on it.
  std::optional<int64_t> chunk_tokens;
  /// (prompt tokens processed, all prompt tokens), once per finished chunk.
  /// Must not use the engine. After a cancel Session::position() says what is
  /// kept: chunks that were at work ended, too.
  ProgressCallback on_progress;
};

/// How the next token is drawn from the logits. Steps apply in this order:
/// repeat penalty, temperature, top-k, top-p, min-p.
struct SamplingOptions {
  /// 0: always the most likely token (greedy; the lowest id on a tie).
  double temperature = 0;
  /// Keep the k most likely; 0: all.
  int64_t top_k = 0;
  /// Keep the smallest set of most likely tokens with at least this
  /// probability in all; 1: all. Source: Holtzman et al., arXiv:1904.09751.
  double top_p = 1;
  /// Drop tokens less likely than this share of the most likely; 0: none.
  double min_p = 0;
  /// Divides positive and multiplies negative logits of tokens among the last
  /// 64; 1: off. Source: Keskar et al., arXiv:1909.05858.
  double repeat_penalty = 1;
  /// The draws are a function of seed and position alone.
  uint64_t seed = 0;
};

struct GenerateOptions {
  int64_t max_tokens = 128;
  SamplingOptions sampling;
  PrefillOptions prefill;
  /// Generation ends before the first of these strings in the text.
  std::vector<std::string> stop;
  /// Go on past end-of-sequence tokens.
  bool ignore_eos = false;
  /// Called with each piece of finished text (whole characters), on the calling
  /// thread. Returning false ends the generation (FinishReason::kCancelled).
  std::function<bool(const std::string& text)> on_text;
};

}  // namespace carat

#endif  // CARAT_OPTIONS_H_
