// How byte-level vocabularies spell bytes: each as one printable character.
// Source: GPT-2's encoder.py (OpenAI 2019), bytes_to_unicode.
#ifndef CARAT_TEXT_BYTE_LEVEL_H_
#define CARAT_TEXT_BYTE_LEVEL_H_

#include <string>
#include <string_view>

namespace carat {

/// Appends the spelling of `bytes`: a space as U+0120, "a" as itself.
void append_spelled_bytes(std::string_view bytes, std::string& out);

/// Appends the bytes that `piece` spells, or `piece` itself if it is no such
/// spelling.
void append_unspelled_bytes(std::string_view piece, std::string& out);

}  // namespace carat

#endif  // CARAT_TEXT_BYTE_LEVEL_H_
