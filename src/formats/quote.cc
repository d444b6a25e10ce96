#include "formats/quote.h"

namespace carat {

std::string quote(std::string_view name) {
  constexpr size_t kMaxBytes = 80;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string quoted = "'";
  for (const char character : name.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7f) {
      quoted += character;
    } else {
      quoted += "\\x";
      quoted += kDigits[byte >> 4];
      quoted += kDigits[byte & 0xf];
    }
  }
  if (name.size() > kMaxBytes) quoted += "...";
  quoted += '\'';
  return quoted;
}

}  // namespace carat
