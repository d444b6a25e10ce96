// Checks at the entry of operations: a caller's mistake becomes an Error.
#ifndef CARAT_BASE_REQUIRE_H_
#define CARAT_BASE_REQUIRE_H_

#include "carat/error.h"

namespace carat {

/// Throws Error{kInvalidArgument, message} unless `condition` holds. For
/// per-call checks (shapes, ranges), never inside loops.
inline void require(bool condition, const char* message) {
  if (!condition) throw Error(ErrorCode::kInvalidArgument, message);
}

}  // namespace carat

#endif  // CARAT_BASE_REQUIRE_H_
