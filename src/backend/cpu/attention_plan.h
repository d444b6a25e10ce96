// How attention is divided among threads. Only the order of work depends on
// this, never a bit of the result.
#ifndef CARAT_BACKEND_CPU_ATTENTION_PLAN_H_
#define CARAT_BACKEND_CPU_ATTENTION_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace carat::cpu {

/// Some query vectors of one sequence and kv head, over some spans of 1024
/// positions. Vector v is row v / sharing, head v % sharing of the group.
struct AttentionUnit {
  int32_t sequence;
  int32_t kv_head;
  int64_t first_vector;
  int32_t vectors;
  int32_t first_span;
  int32_t end_span;
  /// Units with the same vectors are consecutive; the first has the count of
  /// them, the others 0.
  int32_t parts;
};

/// Cuts attention into units, large enough to share the reading of keys and
/// values, and enough of them for `threads` where there is that much work.
/// `chunk_vectors` is what a kernel takes at once.
void plan_attention(std::span<const SequenceRows> sequences,
                    const AttentionShape& shape, int chunk_vectors, int threads,
                    std::vector<AttentionUnit>& units);

/// Positions [begin, end) that rows [first, last] of a sequence see together.
struct PositionRange {
  int64_t begin;
  int64_t end;
};
PositionRange visible_positions(const SequenceRows& sequence, int64_t window,
                                int64_t first_row, int64_t last_row);

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ATTENTION_PLAN_H_
