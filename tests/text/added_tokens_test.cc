#include "text/added_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace carat {
namespace {

int32_t id_at(const AddedTokens& tokens, std::string_view text, size_t at,
              bool parse_special = true) {
  const auto match = tokens.match(text, at, parse_special);
  return match ? match->id : -1;
}

TEST(AddedTokens, TheLongestWins) {
  const AddedTokens tokens({{"a", 0}, {"abc", 1}, {"ab\xFF", 2}, {"", 3}});
  EXPECT_EQ(id_at(tokens, "abc", 0), 1);
  EXPECT_EQ(id_at(tokens, "abd", 0), 0);
  EXPECT_EQ(id_at(tokens, "ab", 0), 0);
  EXPECT_EQ(id_at(tokens, "xab\xFFx", 1), 2);
  EXPECT_EQ(id_at(tokens, "b", 0), -1);
  EXPECT_EQ(tokens.match("abcabc", 3, true)->length, 3u);
}

TEST(AddedTokens, ControlTokensNeedParsing) {
  const AddedTokens tokens({{"<s", 0, false}, {"<s>", 1, true}});
  EXPECT_EQ(id_at(tokens, "<s>", 0), 1);
  EXPECT_EQ(id_at(tokens, "<s>", 0, false), 0);
}

TEST(AddedTokens, NoneAtAllMatchNothing) {
  EXPECT_EQ(id_at(AddedTokens(), "a", 0), -1);
  EXPECT_EQ(id_at(AddedTokens(std::vector<AddedToken>()), "a", 0), -1);
}

TEST(AddedTokens, OfTokensSpelledAlikeTheLastIsFound) {
  EXPECT_EQ(id_at(AddedTokens({{"a", 5}, {"a", 4}}), "a", 0), 4);
}

TEST(AddedTokens, AgreesWithTryingThemAll) {
  std::mt19937 random(1);
  const auto word = [&](size_t longest) {
    std::string text;
    for (size_t i = random() % (longest + 1); i > 0; --i) {
      text += "ab\x80\xFF"[random() % 4];
    }
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> words;
    for (int i = 0; i < 30; ++i) words.push_back(word(5));
    std::vector<AddedToken> list;
    for (size_t i = 0; i < words.size(); ++i) {
      list.push_back({words[i], static_cast<int32_t>(i), i % 3 == 0});
    }
    const AddedTokens tokens(list);
    const std::string text = word(40) + "a";
    for (size_t at = 0; at < text.size(); ++at) {
      for (const bool special : {false, true}) {
        size_t longest = 0;
        for (const auto& token : list) {
          // Of two spelled alike the last decides, also if it is control.
          bool hidden = token.control && !special;
          for (const auto& other : list) {
            if (other.text == token.text && other.id > token.id) hidden = true;
          }
          if (!hidden && text.compare(at, token.text.size(), token.text) == 0) {
            longest = std::max(longest, token.text.size());
          }
        }
        const auto match = tokens.match(text, at, special);
        ASSERT_EQ(match ? match->length : 0, longest);
        if (match) {
          EXPECT_EQ(words[static_cast<size_t>(match->id)],
                    text.substr(at, longest));
        }
      }
    }
  }
}

}  // namespace
}  // namespace carat
