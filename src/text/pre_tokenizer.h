// Text into words, across which byte-level BPE never merges.
#ifndef CARAT_TEXT_PRE_TOKENIZER_H_
#define CARAT_TEXT_PRE_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace carat {

/// The rules that models are trained with, each known by its regular
/// expression.
enum class PreTokenizer : uint8_t {
  kGpt2,         ///< kGpt2Pattern
  kDigitsApart,  ///< every number character alone, the rest as kGpt2
  kLlama3,       ///< kLlama3Pattern
};

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The length of the word that begins at `text[at]`, at least 1: words follow
/// each other without gaps. Throws: as classify_character.
size_t word_length(std::string_view text, size_t at, PreTokenizer rule);

}  // namespace carat

#endif  // CARAT_TEXT_PRE_TOKENIZER_H_
