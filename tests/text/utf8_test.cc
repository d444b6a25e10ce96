#include "text/utf8.h"

#include <gtest/gtest.h>

namespace carat {
namespace {

/// A slow, independent encoder.
std::string encode(uint32_t code) {
  std::string bytes;
  const auto tail = [&](int shift) {
    bytes += static_cast<char>(0x80 | ((code >> shift) & 0x3F));
  };
  if (code < 0x80) {
    bytes += static_cast<char>(code);
  } else if (code < 0x800) {
    bytes += static_cast<char>(0xC0 | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    bytes += static_cast<char>(0xE0 | (code >> 12));
    tail(6);
    tail(0);
  } else {
    bytes += static_cast<char>(0xF0 | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
  return bytes;
}

TEST(Utf8, EveryCharacterIsCompleteAndItsBeginningsAreNot) {
  for (uint32_t code = 0; code <= 0x110FFF; ++code) {
    const std::string bytes = encode(code);
    const bool valid = code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF);
    size_t length = 0;
    ASSERT_EQ(classify_utf8(bytes, length) == Utf8State::kComplete, valid)
        << code;
    ASSERT_EQ(claimed_length(bytes, 0), bytes.size()) << code;
    if (!valid) continue;
    ASSERT_EQ(length, bytes.size());
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      ASSERT_EQ(classify_utf8(bytes.substr(0, cut), length),
                Utf8State::kIncomplete)
          << code;
      ASSERT_EQ(length, cut);
    }
  }
}

TEST(Utf8, OverlongFormsAreInvalid) {
  for (const std::string bytes :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF5\x80\x80\x80", "\xFF",
        "\x80", "\xE2\x28"}) {
    size_t length = 0;
    EXPECT_EQ(classify_utf8(bytes, length), Utf8State::kInvalid) << bytes;
    EXPECT_FALSE(is_utf8(bytes));
  }
}

TEST(Utf8, ReplacesTheLongestPartsThatAreNoCharacter) {
  std::string out = "x";
  append_valid("a\xF0\x9F\x98z\xE2\x82\xAC\xFF\xC3", out);
  const std::string r(kReplacement);
  EXPECT_EQ(out, "xa" + r + "z\xE2\x82\xAC" + r + r);
}

TEST(Utf8, AClaimedLengthIsCutAtTheEnd) {
  EXPECT_EQ(claimed_length("\xF0\x9F", 0), 2u);
  EXPECT_EQ(claimed_length("\xE2xyz", 0), 3u);
  EXPECT_EQ(claimed_length("\x80xyz", 0), 1u);
}

}  // namespace
}  // namespace carat
