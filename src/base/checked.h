// Arithmetic on sizes that come from files or users: overflow is an Error.
#ifndef CARAT_BASE_CHECKED_H_
#define CARAT_BASE_CHECKED_H_

#include <cstdint>
#include <string>

#include "carat/error.h"

namespace carat {

/// a * b. Throws Error{kCorrupt} naming `what` if it does not fit 64 bits.
inline uint64_t checked_mul(uint64_t a, uint64_t b, const std::string& what) {
  uint64_t result;
  if (__builtin_mul_overflow(a, b, &result)) {
    throw Error(ErrorCode::kCorrupt, what + ": size overflows 64 bits");
  }
  return result;
}

/// a + b. Throws Error{kCorrupt} naming `what` if it does not fit 64 bits.
inline uint64_t checked_add(uint64_t a, uint64_t b, const std::string& what) {
  uint64_t result;
  if (__builtin_add_overflow(a, b, &result)) {
    throw Error(ErrorCode::kCorrupt, what + ": size overflows 64 bits");
  }
  return result;
}

/// The smallest multiple of `step` (> 0) that is >= `value` (>= 0).
constexpr int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

/// value / step, rounded up; both positive.
constexpr int64_t ceil_div(int64_t value, int64_t step) {
  return (value + step - 1) / step;
}

}  // namespace carat

#endif  // CARAT_BASE_CHECKED_H_
