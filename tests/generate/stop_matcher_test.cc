#include "generate/stop_matcher.h"

#include <gtest/gtest.h>

namespace carat {
namespace {

std::string run(const std::vector<std::string>& stops,
                const std::vector<std::string>& pieces, bool& matched) {
  StopMatcher matcher(stops);
  std::string text;
  for (const std::string& piece : pieces) text += matcher.push(piece);
  text += matcher.finish();
  matched = matcher.matched();
  return text;
}

TEST(StopMatcherTest, EndsBeforeTheStopStringHoweverItArrives) {
  const std::string text = "one two\n\nthree";
  for (size_t size = 1; size <= text.size(); ++size) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size(); at += size) {
      pieces.push_back(text.substr(at, size));
    }
    bool matched = false;
    EXPECT_EQ(run({"\n\n"}, pieces, matched), "one two");
    EXPECT_TRUE(matched);
  }
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"abc"});
  EXPECT_EQ(matcher.push("xyab"), "xy");
  EXPECT_EQ(matcher.push("ab"), "ab");
  EXPECT_EQ(matcher.push("d"), "abd");
  EXPECT_EQ(matcher.push("a"), "");
  EXPECT_EQ(matcher.finish(), "a");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcherTest, TheEarliestOfSeveralWins) {
  bool matched = false;
  EXPECT_EQ(run({"world", "o w"}, {"hello world"}, matched), "hell");
  EXPECT_TRUE(matched);
}

TEST(StopMatcherTest, EmptyStopsAreIgnored) {
  bool matched = true;
  EXPECT_EQ(run({""}, {"text"}, matched), "text");
  EXPECT_FALSE(matched);
}

TEST(StopMatcherTest, NothingComesOutAfterAMatch) {
  StopMatcher matcher({"."});
  EXPECT_EQ(matcher.push("a.b"), "a");
  EXPECT_EQ(matcher.push("c"), "");
  EXPECT_EQ(matcher.finish(), "");
}

}  // namespace
}  // namespace carat
