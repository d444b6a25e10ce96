// Names that the hub or a user gives, before they become paths.
#ifndef CARAT_HUB_PATHS_H_
#define CARAT_HUB_PATHS_H_

#include <cstddef>
#include <string_view>

namespace carat {

/// Is `path` relative, and does it stay below where it starts? Parts are
/// between slashes, none is empty, "." or "..", none longer than a file's name
/// can be; no control characters or backslashes.
bool is_safe_path(std::string_view path);

/// `length` lower-case hex digits?
bool is_hex(std::string_view text, size_t length);

/// A commit's full name?
inline bool is_commit(std::string_view text) { return is_hex(text, 40); }

}  // namespace carat

#endif  // CARAT_HUB_PATHS_H_
