#include "backend/cpu/attention_plan.h"

#include <algorithm>

#include "base/checked.h"

namespace carat::cpu {
namespace {

constexpr int64_t kSpan = 1024;

// Query vectors of a unit: their state and a block of keys and values fit L2
// together, and the block is read for all of them.
constexpr int64_t kUnitVectors = 48;

int64_t total_vectors(std::span<const SequenceRows> sequences,
                      const AttentionShape& shape) {
  int64_t total = 0;
  for (const SequenceRows& sequence : sequences) {
    total += sequence.rows * shape.heads;
  }
  return total;
}

}  // namespace

PositionRange visible_positions(const SequenceRows& sequence, int64_t window,
                                int64_t first_row, int64_t last_row) {
  const int64_t first = sequence.first_position + first_row;
  const int64_t begin =
      window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
  return {begin, sequence.first_position + last_row + 1};
}

void plan_attention(std::span<const SequenceRows> sequences,
                    const AttentionShape& shape, int chunk_vectors, int threads,
                    std::vector<AttentionUnit>& units) {
  units.clear();
  const int64_t sharing = shape.heads / shape.kv_heads;
  // At least some units a thread, so that their unequal costs even out.
  const int64_t wanted = threads == 1 ? 1 : 4 * threads;
  const int64_t total = total_vectors(sequences, shape);
  const int64_t fair = total / wanted;
  const int64_t chunks = std::clamp<int64_t>(fair / chunk_vectors, 1,
                                             kUnitVectors / chunk_vectors);
  int64_t unit_vectors = chunks * chunk_vectors;
  // With less than a chunk for each thread, heads are divided too.
  if (fair < chunk_vectors && threads > 1) {
    unit_vectors =
        std::clamp<int64_t>(ceil_div(total, threads), 1, chunk_vectors);
  }
  // Long caches of few rows are divided by spans.
  const bool divide_spans =
      threads > 1 && total / unit_vectors < int64_t{4} * threads;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const SequenceRows& sequence = sequences[s];
    const int64_t vectors = sequence.rows * sharing;
    for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (int64_t first = 0; first < vectors; first += unit_vectors) {
        const int64_t count = std::min(unit_vectors, vectors - first);
        const PositionRange range =
            visible_positions(sequence, shape.window, first / sharing,
                              (first + count - 1) / sharing);
        const int64_t first_span = range.begin / kSpan;
        const int64_t end_span = ceil_div(range.end, kSpan);
        AttentionUnit unit = {static_cast<int32_t>(s),
                              kv_head,
                              first,
                              static_cast<int32_t>(count),
                              static_cast<int32_t>(first_span),
                              static_cast<int32_t>(end_span),
                              1};
        if (divide_spans && end_span - first_span > 1) {
          unit.parts = static_cast<int32_t>(end_span - first_span);
          for (int64_t span = first_span; span < end_span; ++span) {
            unit.first_span = static_cast<int32_t>(span);
            unit.end_span = static_cast<int32_t>(span + 1);
            units.push_back(unit);
            unit.parts = 0;
          }
        } else {
          units.push_back(unit);
        }
      }
    }
  }
}

}  // namespace carat::cpu
