#include "text/unicode_class.h"

#ifdef CARAT_HAS_UTF8PROC
#include <utf8proc.h>
#else
#include "carat/error.h"
#endif

#include "text/utf8.h"

namespace carat {
namespace {

CharacterClass ascii_class(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
    return CharacterClass::kLetter;
  }
  if (c >= '0' && c <= '9') return CharacterClass::kNumber;
  if (c == ' ' || (c >= '\t' && c <= '\r')) return CharacterClass::kSpace;
  return CharacterClass::kOther;
}

#ifdef CARAT_HAS_UTF8PROC
CharacterClass unicode_class(std::string_view character) {
  utf8proc_int32_t point = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                   static_cast<utf8proc_ssize_t>(character.size()), &point);
  constexpr utf8proc_int32_t kNextLine = 0x85;
  if (point == kNextLine) return CharacterClass::kSpace;
  switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharacterClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharacterClass::kNumber;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharacterClass::kSpace;
    default:
      return CharacterClass::kOther;
  }
}
#else
CharacterClass unicode_class(std::string_view) {
  throw Error(ErrorCode::kUnsupported,
              "encode: characters beyond ASCII need Unicode's tables, which "
              "are not in this build (CARAT_UTF8PROC=OFF)");
}
#endif

}  // namespace

CharacterClass classify_character(std::string_view text, size_t at,
                                  size_t& length) {
  length = 1;
  if (static_cast<unsigned char>(text[at]) < 0x80) return ascii_class(text[at]);
  if (classify_utf8(text.substr(at), length) != Utf8State::kComplete) {
    length = 1;
    return CharacterClass::kOther;
  }
  return unicode_class(text.substr(at, length));
}

}  // namespace carat
