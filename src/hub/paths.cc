#include "hub/paths.h"

#include <algorithm>

namespace carat {

bool is_safe_path(std::string_view path) {
  constexpr size_t kLongestPart = 255;
  constexpr size_t kLongestPath = 1024;
  if (path.size() > kLongestPath) return false;
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) {
        return c < 0x20 || c == 0x7f || c == '\\';
      })) {
    return false;
  }
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." ||
        part.size() > kLongestPart) {
      return false;
    }
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool is_hex(std::string_view text, size_t length) {
  return text.size() == length &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace carat
