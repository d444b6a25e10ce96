#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace carat {
namespace {

using Words = std::vector<std::string>;

Words words(const std::string& text, PreTokenizer rule) {
  Words result;
  for (size_t at = 0; at < text.size(); at += result.back().size()) {
    result.push_back(text.substr(at, word_length(text, at, rule)));
  }
  return result;
}

// The expected words are those of the patterns in Python's `regex` module.
TEST(PreTokenizerTest, Gpt2) {
  const auto split = [](const std::string& text) {
    return words(text, PreTokenizer::kGpt2);
  };
  EXPECT_EQ(split("Hello, world"), (Words{"Hello", ",", " world"}));
  EXPECT_EQ(split("it's 'S we'll"),
            (Words{"it", "'s", " '", "S", " we", "'ll"}));
  EXPECT_EQ(split("a  b\n\n c 12x"),
            (Words{"a", " ", " b", "\n\n", " c", " 12", "x"}));
  EXPECT_EQ(split("x  "), (Words{"x", "  "}));
  EXPECT_EQ(split("\xC3\xA9t\xC3\xA9\xC2\xA0\xC2\xB2"),
            (Words{"\xC3\xA9t\xC3\xA9", "\xC2\xA0", "\xC2\xB2"}));
}

TEST(PreTokenizerTest, DigitsApart) {
  const auto split = [](const std::string& text) {
    return words(text, PreTokenizer::kDigitsApart);
  };
  EXPECT_EQ(split("a 123  4"), (Words{"a", " ", "1", "2", "3", "  ", "4"}));
  EXPECT_EQ(split("x1y 2z"), (Words{"x", "1", "y", " ", "2", "z"}));
}

TEST(PreTokenizerTest, Llama3) {
  const auto split = [](const std::string& text) {
    return words(text, PreTokenizer::kLlama3);
  };
  EXPECT_EQ(split("IT'S (ok) 12345"),
            (Words{"IT", "'S", " (", "ok", ")", " ", "123", "45"}));
  EXPECT_EQ(split("a  \n\n  b!!\n\nc"),
            (Words{"a", "  \n\n", " ", " b", "!!\n\n", "c"}));
  EXPECT_EQ(split("\tx\n y  "), (Words{"\tx", "\n", " y", "  "}));
  EXPECT_EQ(split("\"quoted\" $5"), (Words{"\"quoted", "\"", " $", "5"}));
}

TEST(PreTokenizerTest, StrayBytesAreCharactersOfNoKind) {
  EXPECT_EQ(words("a\xF0\x9F b", PreTokenizer::kGpt2),
            (Words{"a", "\xF0\x9F", " b"}));
}

}  // namespace
}  // namespace carat
