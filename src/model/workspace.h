// The arena of a forward pass: transient activations, sized by rows.
#ifndef CARAT_MODEL_WORKSPACE_H_
#define CARAT_MODEL_WORKSPACE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "cache/kv_cache.h"
#include "carat/model_config.h"

namespace carat {

/// Activations for up to rows() rows and logits for up to logits_rows() rows.
/// Grows when asked and is then reused, so a chunked prefill holds one chunk's
/// worth however long the prompt. `backend` must outlive it. Not thread-safe.
class Workspace {
 public:
  Workspace(Backend& backend, const ModelConfig& config);

  Backend& backend() const { return *backend_; }
  /// Makes room. Throws: Error{kOutOfMemory}.
  void fit(int64_t rows, int64_t logits_rows);

  /// Makes room for `rows` rows here and in an arena for each other lane (see
  /// Backend::use_lane) of [1, lanes), as far as there is memory; returns how
  /// many lanes have room, >= 1. Throws: as fit(), for this one.
  int fit_lanes(int lanes, int64_t rows);
  /// The arena of a lane that has room: this one for 0.
  Workspace& of_lane(int lane);

  int64_t rows() const { return rows_; }
  int64_t logits_rows() const { return logits_rows_; }
  /// Of all lanes.
  int64_t bytes() const;

  Matrix x, y;                 ///< [rows, hidden_size] residual stream, branch
  Matrix q;                    ///< [rows, heads * head_dim]
  Matrix k, v;                 ///< [rows, kv_heads * head_dim]
  Matrix angles[kCacheKinds];  ///< [rows, head_dim], by layer kind
  Matrix selected_x;           ///< [logits_rows, hidden_size]
  Matrix selected_angles[kCacheKinds];     ///< [logits_rows, head_dim]
  Matrix logits;                           ///< [logits_rows, vocab_size]
  std::unique_ptr<LinearInput> hidden;     ///< [rows, hidden_size]
  std::unique_ptr<LinearInput> attention;  ///< [rows, heads * head_dim]
  std::unique_ptr<LinearInput> ffn;        ///< [rows, intermediate_size]

 private:
  Backend* backend_;
  ModelConfig config_;
  std::unique_ptr<Buffer> row_buffer_;
  std::unique_ptr<Buffer> logits_buffer_;
  int64_t rows_ = 0;
  int64_t logits_rows_ = 0;
  int64_t bytes_ = 0;
  std::vector<std::unique_ptr<Workspace>> other_lanes_;
};

/// The KV cache that a model of this config needs.
KvCacheShape cache_shape(const ModelConfig& config);

/// The kind of cache a layer of this config uses.
inline CacheKind cache_kind(const LayerConfig& layer) {
  return layer.sliding_window > 0 ? CacheKind::kWindow : CacheKind::kFull;
}

}  // namespace carat

#endif  // CARAT_MODEL_WORKSPACE_H_
