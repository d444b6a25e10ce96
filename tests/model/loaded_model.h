// A model with its backend and cache, as tests drive it below the engine.
#ifndef CARAT_TESTS_MODEL_LOADED_MODEL_H_
#define CARAT_TESTS_MODEL_LOADED_MODEL_H_

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "backend/registry.h"
#include "generate/prefill.h"
#include "model/checkpoint.h"
#include "model/registry.h"

namespace carat {

inline std::filesystem::path shared_data() { return CARAT_SHARED_DATA; }

struct LoadedModel {
  LoadedModel(const std::filesystem::path& path, const BackendOptions& options)
      : LoadedModel(open_checkpoint(path), nullptr, options) {}
  // Of a checkpoint that outlives it.
  LoadedModel(const Checkpoint& from, const BackendOptions& options)
      : LoadedModel(nullptr, &from, options) {}

  std::vector<float> row(Matrix logits, int64_t index) {
    std::vector<float> values(static_cast<size_t>(logits.cols));
    backend->read(logits, index, values.data());
    return values;
  }

  // The last position's logits after a chunked prefill.
  std::vector<float> chunked(std::span<const int32_t> tokens,
                             int64_t chunk_tokens) {
    KvSequence sequence(cache);
    Workspace workspace(*backend, model->config());
    return row(
        prefill_chunked(*model, workspace, sequence, tokens, chunk_tokens, {}),
        0);
  }

  // All positions' logits in one unchunked pass.
  std::vector<std::vector<float>> full(std::span<const int32_t> tokens) {
    KvSequence sequence(cache);
    Workspace workspace(*backend, model->config());
    const Matrix logits = prefill_full(*model, workspace, sequence, tokens, {});
    std::vector<std::vector<float>> rows;
    for (int64_t i = 0; i < logits.rows; ++i) rows.push_back(row(logits, i));
    return rows;
  }

  std::unique_ptr<Checkpoint> checkpoint;  // null: another's
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  KvCache cache;

 private:
  LoadedModel(std::unique_ptr<Checkpoint> owned, const Checkpoint* from,
              const BackendOptions& options)
      : checkpoint(std::move(owned)),
        backend(make_backend(options)),
        model(load_model(from != nullptr ? *from : *checkpoint, *backend, {})),
        cache(*backend, model->cache_shape()) {}
};

// `count` token ids that look like a prompt: BOS, then a fixed pseudo-random
// walk over the vocabulary.
inline std::vector<int32_t> synthetic_prompt(int64_t count, int64_t vocab_size,
                                             uint32_t seed = 1) {
  std::vector<int32_t> tokens;
  uint32_t state = seed * 2654435761u + 12345u;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    const auto id = static_cast<int64_t>(state >> 8) % (vocab_size - 3) + 3;
    tokens.push_back(i == 0 ? 2 : static_cast<int32_t>(id));
  }
  return tokens;
}

}  // namespace carat

#endif  // CARAT_TESTS_MODEL_LOADED_MODEL_H_
