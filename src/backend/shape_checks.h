// Checks, for every backend, of what a caller passes to the operations.
#ifndef CARAT_BACKEND_SHAPE_CHECKS_H_
#define CARAT_BACKEND_SHAPE_CHECKS_H_

#include <span>

#include "backend/backend.h"
#include "base/require.h"

namespace carat {

/// Objects of other backends are a caller's mistake.
template <class Own, class Interface>
Own& own(Interface& object, const char* message) {
  auto* result = dynamic_cast<Own*>(&object);
  require(result != nullptr, message);
  return *result;
}

inline void check_matrix(const Matrix& m, const char* message) {
  require(m.data != nullptr && m.rows >= 0 && m.cols > 0 &&
              m.stride >= m.cols && m.stride % 16 == 0,
          message);
}

inline void check_sequences(std::span<const SequenceRows> sequences,
                            int64_t rows) {
  for (const SequenceRows& sequence : sequences) {
    require(sequence.rows > 0 && sequence.first_row >= 0 &&
                sequence.first_row + sequence.rows <= rows,
            "sequences: rows out of range");
    require(sequence.first_position >= 0, "sequences: a negative position");
  }
}

/// Positions [begin, end) have blocks in the table, of the `blocks` there are.
inline void check_blocks(const BlockTable& table, int64_t blocks, int64_t begin,
                         int64_t end) {
  const int64_t first = begin / kBlockTokens - table.first_block;
  const int64_t last = (end - 1) / kBlockTokens - table.first_block;
  require(first >= 0 && last < static_cast<int64_t>(table.ids.size()),
          "block table: positions without a block");
  for (int64_t i = first; i <= last; ++i) {
    const int32_t id = table.ids[static_cast<size_t>(i)];
    require(id >= 0 && id < blocks, "block table: a block out of range");
  }
}

}  // namespace carat

#endif  // CARAT_BACKEND_SHAPE_CHECKS_H_
