// The small pure parts: number lists, units, folding, SHA-256.
#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/help_format.h"
#include "cli/options.h"
#include "cli/sha256.h"
#include "cli/units.h"

namespace carat::cli {
namespace {

TEST(ParseTokenIdsTest, AcceptsCommasSpacesAndBrackets) {
  const std::vector<int32_t> expected = {2, 818, 5};
  EXPECT_EQ(parse_token_ids("x", "2,818,5"), expected);
  EXPECT_EQ(parse_token_ids("x", " 2 818\n5\n"), expected);
  EXPECT_EQ(parse_token_ids("x", "[2, 818, 5]"), expected);
  EXPECT_TRUE(parse_token_ids("x", "").empty());
  EXPECT_TRUE(parse_token_ids("x", " , ").empty());
}

TEST(ParseTokenIdsTest, RefusesWhatIsNoId) {
  for (const char* text : {"a", "1.5", "-1", "2147483648", "1e3", "0x10",
                           "99999999999999999999", "1;2"}) {
    EXPECT_THROW(parse_token_ids("x", text), UsageError) << text;
  }
}

TEST(UnitsTest, AreForPeople) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(int64_t{5} << 40), "5.0 TiB");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-123456), "-123,456");
  EXPECT_EQ(grouped(268098176), "268,098,176");
  EXPECT_EQ(human_ms(1.234), "1.23 ms");
  EXPECT_EQ(human_ms(12500), "12.5 s");
  EXPECT_EQ(counted_tokens(1), "1 token");
  EXPECT_EQ(counted_tokens(2), "2 tokens");
}

TEST(FoldedTest, BreaksAtSpaces) {
  EXPECT_EQ(folded("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(folded("overlong", 3, 2), "overlong");
  EXPECT_EQ(folded("", 3, 2), "");
}

// Source: FIPS 180-4, examples.
TEST(Sha256Test, KnownAnswers) {
  const auto hex = [](std::string_view text) {
    return sha256_hex(std::as_bytes(std::span(text)));
  };
  EXPECT_EQ(hex(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace carat::cli
