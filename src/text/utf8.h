// UTF-8: how long a character is, and what is not one.
#ifndef CARAT_TEXT_UTF8_H_
#define CARAT_TEXT_UTF8_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace carat {

/// U+2581, how vocabularies spell a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
/// U+FFFD, what stands for bytes that are not UTF-8.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// How many bytes the character at `text[at]` claims by its first byte, cut at
/// the end of `text`. A stray continuation byte is a character of its own; the
/// bytes that follow are not looked at. This is how the vocabularies' reference
/// splits text, valid or not.
inline size_t claimed_length(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t claimed = first < 0xC0   ? 1
                         : first < 0xE0 ? 2
                         : first < 0xF0 ? 3
                                        : 4;
  return std::min(claimed, text.size() - at);
}

enum class Utf8State {
  kComplete,    ///< one whole character
  kIncomplete,  ///< the beginning of one
  kInvalid,     ///< nothing that more bytes could make a character
};

/// What `bytes` (not empty) begins with. `length` becomes the whole character's
/// length, or that of the longest part that could begin one (at least 1).
/// Surrogates, overlong forms and values above U+10FFFF are invalid.
/// Source: the Unicode Standard, table 3-7.
inline Utf8State classify_utf8(std::string_view bytes, size_t& length) {
  const auto byte = [&](size_t i) {
    return static_cast<unsigned char>(bytes[i]);
  };
  length = 1;
  const unsigned char first = byte(0);
  if (first < 0x80) return Utf8State::kComplete;
  if (first < 0xC2 || first > 0xF4) return Utf8State::kInvalid;
  const size_t whole = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (; length < whole; ++length) {
    if (length == bytes.size()) return Utf8State::kIncomplete;
    if (byte(length) < low || byte(length) > high) return Utf8State::kInvalid;
    low = 0x80;
    high = 0xBF;
  }
  return Utf8State::kComplete;
}

/// True if all of `text` is UTF-8.
inline bool is_utf8(std::string_view text) {
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    if (classify_utf8(text.substr(at), length) != Utf8State::kComplete) {
      return false;
    }
  }
  return true;
}

/// Appends `text`, with U+FFFD for each longest part that can't be UTF-8.
inline void append_valid(std::string_view text, std::string& out) {
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const Utf8State state = classify_utf8(text.substr(at), length);
    out +=
        state == Utf8State::kComplete ? text.substr(at, length) : kReplacement;
  }
}

}  // namespace carat

#endif  // CARAT_TEXT_UTF8_H_
