// The rows of a ragged batch: which belong to which sequence and position.
#ifndef CARAT_MODEL_BATCH_ROWS_H_
#define CARAT_MODEL_BATCH_ROWS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace carat {

/// Throws Error{kInvalidArgument}, naming the id, unless all are in the
/// vocabulary.
void check_token_ids(std::span<const int32_t> tokens,
                     const ModelConfig& config);

/// Built on the host at the start of a forward pass: provides each sequence's
/// blocks for its new positions, lists rows, and counts the positions as
/// filled. Refers to the batch's sequences.
class BatchRows {
 public:
  /// Throws: Error{kInvalidArgument} for an empty batch or sequence, a token
  /// outside the vocabulary, or sequences of different caches;
  /// Error{kOutOfMemory}.
  BatchRows(std::span<const BatchSequence> batch, const ModelConfig& config);

  int64_t rows() const { return rows_; }
  std::span<const SequenceRows> sequences() const { return sequences_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  KvCache& cache() const { return *cache_; }

  /// The rows whose logits are wanted, renumbered from 0 (no tokens).
  BatchRows selected() const;
  /// Which rows of this batch those are.
  std::vector<int64_t> selected_rows() const;

  /// Counts the positions as filled, once their work has been submitted.
  static void commit(std::span<const BatchSequence> batch);

 private:
  BatchRows() = default;

  KvCache* cache_ = nullptr;
  int64_t rows_ = 0;
  std::vector<int32_t> tokens_;
  std::vector<SequenceRows> sequences_;
  std::vector<LogitsWanted> wanted_;  // by sequence
};

}  // namespace carat

#endif  // CARAT_MODEL_BATCH_ROWS_H_
