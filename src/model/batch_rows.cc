#include "model/batch_rows.h"

#include <string>

#include "base/require.h"

namespace carat {

void check_token_ids(std::span<const int32_t> tokens,
                     const ModelConfig& config) {
  for (const int32_t token : tokens) {
    if (token >= 0 && token < config.vocab_size) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "token id " + std::to_string(token) +
                    " is outside the vocabulary [0, " +
                    std::to_string(config.vocab_size) + ")");
  }
}

BatchRows::BatchRows(std::span<const BatchSequence> batch,
                     const ModelConfig& config) {
  require(!batch.empty(), "forward: the batch has no sequence");
  cache_ = &batch[0].sequence->cache();
  for (const BatchSequence& entry : batch) {
    require(!entry.tokens.empty(), "forward: a sequence has no token");
    require(&entry.sequence->cache() == cache_,
            "forward: sequences of different caches");
    check_token_ids(entry.tokens, config);
  }
  // Blocks first: acquiring for one sequence may not invalidate a table
  // already taken of another.
  for (const BatchSequence& entry : batch) {
    entry.sequence->reserve(static_cast<int64_t>(entry.tokens.size()));
  }
  for (const BatchSequence& entry : batch) {
    SequenceRows rows;
    rows.first_row = rows_;
    rows.rows = static_cast<int64_t>(entry.tokens.size());
    rows.first_position = entry.sequence->length();
    for (int kind = 0; kind < kCacheKinds; ++kind) {
      rows.tables[kind] = entry.sequence->table(static_cast<CacheKind>(kind));
    }
    sequences_.push_back(rows);
    wanted_.push_back(entry.logits);
    tokens_.insert(tokens_.end(), entry.tokens.begin(), entry.tokens.end());
    rows_ += rows.rows;
  }
}

BatchRows BatchRows::selected() const {
  BatchRows result;
  result.cache_ = cache_;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (wanted_[i] == LogitsWanted::kNone) continue;
    SequenceRows rows = sequences_[i];
    if (wanted_[i] == LogitsWanted::kLast) {
      rows.first_position += rows.rows - 1;
      rows.rows = 1;
    }
    rows.first_row = result.rows_;
    result.rows_ += rows.rows;
    result.sequences_.push_back(rows);
    result.wanted_.push_back(wanted_[i]);
  }
  return result;
}

std::vector<int64_t> BatchRows::selected_rows() const {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const SequenceRows& sequence = sequences_[i];
    const int64_t end = sequence.first_row + sequence.rows;
    if (wanted_[i] == LogitsWanted::kNone) continue;
    const bool last_only = wanted_[i] == LogitsWanted::kLast;
    for (int64_t row = last_only ? end - 1 : sequence.first_row; row < end;
         ++row) {
      rows.push_back(row);
    }
  }
  return rows;
}

void BatchRows::commit(std::span<const BatchSequence> batch) {
  for (const BatchSequence& entry : batch) {
    entry.sequence->commit(static_cast<int64_t>(entry.tokens.size()));
  }
}

}  // namespace carat
