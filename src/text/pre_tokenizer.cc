#include "text/pre_tokenizer.h"

#include <array>

#include "text/unicode_class.h"

namespace carat {
namespace {

using Class = CharacterClass;

bool is_newline(char c) { return c == '\r' || c == '\n'; }

/// Steps through one text's characters. `end` may be before the text's.
class Scanner {
 public:
  Scanner(std::string_view text, size_t at, PreTokenizer rule)
      : text_(text), at_(at), rule_(rule) {}

  size_t word() const {
    if (rule_ == PreTokenizer::kLlama3) return llama3_word();
    if (rule_ == PreTokenizer::kDigitsApart) {
      const Character first = character(at_);
      if (first.kind == Class::kNumber) return first.length;
    }
    return gpt2_word();
  }

 private:
  struct Character {
    Class kind;
    size_t length;
  };

  Character character(size_t at) const {
    size_t length = 0;
    const Class kind = classify_character(text_, at, length);
    return {kind, length};
  }
  bool ends(size_t at) const {
    return at == text_.size() || (rule_ == PreTokenizer::kDigitsApart &&
                                  character(at).kind == Class::kNumber);
  }
  /// Where the run of characters of one kind that begins at `at` ends.
  size_t run_end(size_t at, Class kind, size_t most = SIZE_MAX) const {
    for (; most > 0 && !ends(at); --most) {
      const Character next = character(at);
      if (next.kind != kind) break;
      at += next.length;
    }
    return at;
  }

  /// The length of an English contraction's end, or 0.
  size_t contraction(bool any_case) const {
    constexpr std::array<std::string_view, 7> kEnds = {
        "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (const std::string_view end : kEnds) {
      const std::string_view found = text_.substr(at_, end.size());
      if (found.size() != end.size()) continue;
      bool same = true;
      for (size_t i = 0; i < end.size(); ++i) {
        char c = found[i];
        if (any_case && c >= 'A' && c <= 'Z') {
          c = static_cast<char>(c - 'A' + 'a');
        }
        same = same && c == end[i];
      }
      if (same) return end.size();
    }
    return 0;
  }

  size_t gpt2_word() const {
    if (const size_t length = contraction(false)) return length;
    size_t begin = at_;
    if (text_[at_] == ' ' && !ends(at_ + 1)) ++begin;
    const Class kind = character(begin).kind;
    if (kind != Class::kSpace) return run_end(begin, kind) - at_;
    return space_word();
  }

  size_t llama3_word() const {
    if (const size_t length = contraction(true)) return length;
    const Character first = character(at_);
    const size_t second = at_ + first.length;
    if (first.kind == Class::kLetter) {
      return run_end(at_, Class::kLetter) - at_;
    }
    if (first.kind == Class::kNumber) {
      return run_end(at_, Class::kNumber, 3) - at_;
    }
    const Class next = ends(second) ? Class::kSpace : character(second).kind;
    if (!is_newline(text_[at_]) && next == Class::kLetter) {
      return run_end(second, Class::kLetter) - at_;
    }
    if (first.kind == Class::kOther ||
        (text_[at_] == ' ' && next == Class::kOther)) {
      size_t end =
          run_end(first.kind == Class::kOther ? at_ : second, Class::kOther);
      while (end < text_.size() && is_newline(text_[end])) ++end;
      return end - at_;
    }
    const size_t end = run_end(at_, Class::kSpace);
    for (size_t last = end; last > at_; --last) {
      if (is_newline(text_[last - 1])) return last - at_;
    }
    return space_word();
  }

  /// Spaces, but for the last one where a word follows.
  size_t space_word() const {
    size_t last = at_;
    size_t end = at_;
    while (!ends(end)) {
      const Character next = character(end);
      if (next.kind != Class::kSpace) break;
      last = end;
      end += next.length;
    }
    if (!ends(end) && last > at_) return last - at_;
    return end - at_;
  }

  std::string_view text_;
  size_t at_;
  PreTokenizer rule_;
};

}  // namespace

size_t word_length(std::string_view text, size_t at, PreTokenizer rule) {
  return Scanner(text, at, rule).word();
}

}  // namespace carat
