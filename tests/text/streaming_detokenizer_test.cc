#include <gtest/gtest.h>

#include <random>

#include "tests/text/small_tokenizers.h"
#include "text/utf8.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;

constexpr int32_t kSpecial = 260;
constexpr int32_t kWord = 261;

std::unique_ptr<Tokenizer> make_tokenizer() {
  auto tokens = base_tokens();
  tokens.push_back({"<x>", 0, 3});
  tokens.push_back({kMark + "w", 0, 1});
  return gguf_tokenizer(tokens);
}

Ids byte_ids(const std::string& bytes) {
  Ids ids;
  for (const char byte : bytes) {
    ids.push_back(4 + static_cast<unsigned char>(byte));
  }
  return ids;
}

std::string replaced(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += kReplacement;
  return text;
}

/// What every push() gives, then finish().
std::vector<std::string> stream(const Tokenizer& tokenizer, const Ids& ids,
                                bool skip_special = false) {
  StreamingDetokenizer detokenizer(tokenizer, skip_special);
  std::vector<std::string> chunks;
  for (const int32_t id : ids) chunks.push_back(detokenizer.push(id));
  chunks.push_back(detokenizer.finish());
  EXPECT_EQ(detokenizer.finish(), "");
  return chunks;
}

using Chunks = std::vector<std::string>;

TEST(StreamingDetokenizer, GivesACharacterOutWithItsLastByte) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(stream(*tokenizer, byte_ids("\xF0\x9F\x98\x80z\xC3\xA9")),
            (Chunks{"", "", "", "\xF0\x9F\x98\x80", "z", "", "\xC3\xA9", ""}));
}

TEST(StreamingDetokenizer, ReplacesEveryByteOfABrokenRun) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(stream(*tokenizer, byte_ids("\xF0\x9F\x41z")),
            (Chunks{"", "", replaced(3), replaced(1), ""}));
  EXPECT_EQ(stream(*tokenizer, byte_ids("\xE2\x82")),
            (Chunks{"", "", replaced(2)}));
  Ids ids = byte_ids("\xE2\x82");
  ids.push_back(kWord);
  ids.push_back(4 + 'z');
  EXPECT_EQ(stream(*tokenizer, ids),
            (Chunks{"", "", replaced(2) + " w", "z", ""}));
}

TEST(StreamingDetokenizer, SkippedTokensDontEndARun) {
  const auto tokenizer = make_tokenizer();
  const Ids ids = {4 + 0xC3, kSpecial, 4 + 0xA9};
  EXPECT_EQ(stream(*tokenizer, ids, true), (Chunks{"", "", "\xC3\xA9", ""}));
  EXPECT_EQ(tokenizer->decode(ids, true), "\xC3\xA9");
  EXPECT_EQ(stream(*tokenizer, ids),
            (Chunks{"", replaced(1) + "<x>", replaced(1), ""}));
}

/// What decode() gives where no whole character comes before a stray byte in
/// its run, and the header's exception where one does.
TEST(StreamingDetokenizer, JoinedItIsWhatDecodeGives) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(tokenizer->decode(byte_ids("\xE2\x82\xAC\xE2")), replaced(4));
  EXPECT_EQ(stream(*tokenizer, byte_ids("\xE2\x82\xAC\xE2")),
            (Chunks{"", "", "\xE2\x82\xAC", "", replaced(1)}));
  std::mt19937 random(1);
  const std::vector<std::string> parts = {"\xF0\x9F\x98\x80", "\xC3\xA9", "a"};
  for (int round = 0; round < 2000; ++round) {
    Ids ids;
    for (int run = 0; run < 4; ++run) {
      Ids bytes;
      if (random() % 2 == 0) {
        for (size_t i = random() % 4; i > 0; --i) {
          for (const int32_t id : byte_ids(parts[random() % 3])) {
            bytes.push_back(id);
          }
        }
      } else {
        bytes = byte_ids(std::string(1, static_cast<char>(0x80)));
        for (size_t i = random() % 4; i > 0; --i) {
          bytes.push_back(4 + static_cast<int32_t>(random() % 256));
        }
      }
      ids.insert(ids.end(), bytes.begin(), bytes.end());
      ids.push_back(random() % 2 == 0 ? kSpecial : kWord);
    }
    std::string joined;
    for (const auto& chunk : stream(*tokenizer, ids)) {
      EXPECT_TRUE(is_utf8(chunk));
      joined += chunk;
    }
    ASSERT_EQ(joined, tokenizer->decode(ids));
  }
}

}  // namespace
}  // namespace carat
