// Prompt -> KV cache and the last token's logits: the chunk size is decided
// and the chunks are submitted here.
#ifndef CARAT_GENERATE_PREFILL_H_
#define CARAT_GENERATE_PREFILL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "carat/model_config.h"
#include "carat/options.h"
#include "model/model.h"

namespace carat {

/// The chunk size to use: `requested` where the caller named one, else
/// `measured` where the backend has a measured best, else the model family's
/// (Gemma 3: 128, others 512). The answer does not depend on it.
/// Throws: Error{kInvalidArgument} if `requested` is below 1.
int64_t choose_chunk_tokens(std::optional<int64_t> requested,
                            std::optional<int64_t> measured,
                            const ModelConfig& config);

/// A half-open range of prompt positions.
struct Chunk {
  int64_t begin = 0;
  int64_t end = 0;

  bool operator==(const Chunk&) const = default;
};

/// Cuts [0, tokens) into chunks of `chunk_tokens`, the last one shorter.
std::vector<Chunk> plan_chunks(int64_t tokens, int64_t chunk_tokens);

/// Appends `tokens` (>= 1) chunk by chunk, filling the KV cache only; of the
/// last token alone the last layer and the logits are computed. It shares its
/// chunk's pass, which reads the weights once: bits do not depend on the chunk.
/// As many chunks are at work as the backend has lanes (and memory for their
/// arenas), and the next one is prepared meanwhile. Returns the last token's
/// logits [1, vocab_size], a view into `workspace` or a lane's arena of it.
/// Throws: as Model::forward; Error{kCancelled} when `on_progress` returned
/// false: finished chunks, and those that were at work, then stay in the cache.
Matrix prefill_chunked(Model& model, Workspace& workspace, KvSequence& sequence,
                       std::span<const int32_t> tokens, int64_t chunk_tokens,
                       const ProgressCallback& on_progress);

/// The whole prompt at once through every layer, with all logits: what carat
/// is compared with. Returns the logits [tokens, vocab_size].
Matrix prefill_full(Model& model, Workspace& workspace, KvSequence& sequence,
                    std::span<const int32_t> tokens,
                    const ProgressCallback& on_progress);

}  // namespace carat

#endif  // CARAT_GENERATE_PREFILL_H_
