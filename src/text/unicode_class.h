// What kind of character a code point is, as pre-tokenizers tell them apart.
#ifndef CARAT_TEXT_UNICODE_CLASS_H_
#define CARAT_TEXT_UNICODE_CLASS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace carat {

enum class CharacterClass : uint8_t {
  kLetter,  ///< \p{L}
  kNumber,  ///< \p{N}
  kSpace,   ///< \s, Unicode's White_Space
  kOther,
};

/// The class of the character at `text[at]`, and its length in bytes. What is
/// not UTF-8 is kOther, a byte at a time.
/// Throws: Error{kUnsupported} for a character beyond ASCII in a build without
/// Unicode's tables (CARAT_UTF8PROC=OFF).
CharacterClass classify_character(std::string_view text, size_t at,
                                  size_t& length);

}  // namespace carat

#endif  // CARAT_TEXT_UNICODE_CLASS_H_
