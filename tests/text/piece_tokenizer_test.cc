// Encoding against the plainest possible merging, and big inputs.
#include "text/piece_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/text/golden_tokenizers.h"
#include "tests/text/small_tokenizers.h"
#include "text/utf8.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;

/// Merges the leftmost of the best neighbours until there are none. `rank_of`
/// gives the rank of two pieces, lower first, or nullopt.
template <typename RankOf>
std::vector<std::string> merge_plainly(std::vector<std::string> parts,
                                       const RankOf& rank_of) {
  while (true) {
    std::optional<std::pair<double, size_t>> best;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::optional<double> rank = rank_of(parts[i], parts[i + 1]);
      if (rank && (!best || *rank < best->first)) best = {{*rank, i}};
    }
    if (!best) return parts;
    parts[best->second] += parts[best->second + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best->second) + 1);
  }
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size(); at += parts.back().size()) {
    parts.push_back(text.substr(at, claimed_length(text, at)));
  }
  return parts;
}

class PlainMerging : public testing::Test {
 protected:
  std::string word(size_t most) {
    const std::vector<std::string> letters = {
        "a", "b", "c", "\xC3\xA9", kMark, "\x80", "\xF0", "\xE2", "d"};
    std::string text;
    for (size_t i = 1 + random_() % most; i > 0; --i) {
      text += letters[random_() % letters.size()];
    }
    return text;
  }

  /// Different pieces of up to four letters.
  std::vector<std::string> pieces() {
    std::set<std::string> words;
    for (int i = 0; i < 60; ++i) words.insert(word(4));
    return {words.begin(), words.end()};
  }

  std::mt19937 random_{7};
};

void expect_parts(const Tokenizer& tokenizer, const std::string& text,
                  const std::vector<std::string>& parts,
                  const std::set<std::string>& pieces) {
  std::vector<std::string> expected;
  for (const auto& part : parts) {
    if (pieces.count(part) > 0) {
      expected.push_back(part);
      continue;
    }
    for (const char byte : part) expected.push_back(std::string(1, byte));
  }
  std::vector<std::string> found;
  for (const int32_t id : tokenizer.encode(text, {.add_bos = false})) {
    found.push_back(tokenizer.is_byte(id) ? tokenizer.bytes(id)
                                          : std::string(tokenizer.piece(id)));
  }
  ASSERT_EQ(found, expected);
}

TEST_F(PlainMerging, ScoresGiveTheSame) {
  for (int round = 0; round < 100; ++round) {
    auto tokens = base_tokens();
    std::map<std::string, double> scores;
    for (const auto& piece : pieces()) {
      const float score = static_cast<float>(random_() % 12) - 6;
      tokens.push_back({piece, score, 1});
      scores[piece] = score;
    }
    std::set<std::string> known;
    for (const auto& [piece, score] : scores) known.insert(piece);
    const auto tokenizer = gguf_tokenizer(tokens);
    for (int i = 0; i < 20; ++i) {
      const std::string text = word(60);
      const auto parts =
          merge_plainly(characters(text),
                        [&](const std::string& left,
                            const std::string& right) -> std::optional<double> {
                          const auto found = scores.find(left + right);
                          if (found == scores.end()) return std::nullopt;
                          return -found->second;
                        });
      expect_parts(*tokenizer, text, parts, known);
    }
  }
}

TEST_F(PlainMerging, ListsOfMergesGiveTheSame) {
  for (int round = 0; round < 100; ++round) {
    std::set<std::string> known;
    for (const auto& piece : pieces()) {
      if (is_utf8(piece)) known.insert(piece);
    }
    std::vector<MergePair> merges;
    std::map<std::pair<std::string, std::string>, double> ranks;
    for (const auto& left : known) {
      for (const auto& right : known) {
        if (known.count(left + right) == 0) continue;
        merges.push_back({left, right});
      }
    }
    std::shuffle(merges.begin(), merges.end(), random_);
    for (size_t i = 0; i < merges.size(); ++i) {
      ranks[{merges[i].left, merges[i].right}] = static_cast<double>(i);
    }
    const auto tokenizer =
        load_text(json_document({known.begin(), known.end()}, merges).dump());
    for (int i = 0; i < 20; ++i) {
      const std::string text = word(60);
      const auto parts =
          merge_plainly(characters(text),
                        [&](const std::string& left,
                            const std::string& right) -> std::optional<double> {
                          const auto found = ranks.find({left, right});
                          if (found == ranks.end()) return std::nullopt;
                          return found->second;
                        });
      expect_parts(*tokenizer, text, parts, known);
    }
  }
}

std::string repeated(const std::string& part, size_t size) {
  std::string text;
  while (text.size() < size) text += part;
  return text;
}

void expect_big_inputs_work(const Tokenizer& tokenizer) {
  constexpr size_t kSize = 1 << 18;
  const std::string letters = repeated("a", size_t{1} << 20);
  EXPECT_TRUE(tokenizer.decode(tokenizer.encode(letters, {.add_bos = false})) ==
              letters);
  for (const char* part :
       {" ", "\n", "\xF0\x9F\x98\x80", "<", "ab", "=", "<unused", "<0x41>",
        "The quick brown fox. ", "\xE6\xBC\xA2\xE5\xAD\x97", "\xF0\x90\x8E\x80",
        "<start_of_turn>", "\t\n"}) {
    const std::string text = repeated(part, kSize);
    const Ids ids = tokenizer.encode(text, {.add_bos = false});
    EXPECT_LE(ids.size(), text.size());
    EXPECT_TRUE(tokenizer.decode(ids) == text) << part;
  }
  const std::string marks = repeated(kMark, kSize);
  EXPECT_TRUE(tokenizer.decode(tokenizer.encode(marks, {.add_bos = false})) ==
              std::string(marks.size() / 3, ' '));
  std::mt19937 random(1);
  std::string noise;
  for (size_t i = 0; i < kSize; ++i) {
    const auto byte = static_cast<char>(random());
    if (byte != ' ') noise += byte;
  }
  std::string bytes;
  for (const int32_t id : tokenizer.encode(noise, {.add_bos = false})) {
    bytes += tokenizer.bytes(id);
  }
  EXPECT_TRUE(bytes == noise);
}

TEST(BigInputs, JsonTakesThem) {
  CARAT_SKIP_WITHOUT(gemma3_from_json(), "the golden tokenizer.json and xz");
  expect_big_inputs_work(*gemma3_from_json());
}

TEST(BigInputs, GgufTakesThem) {
  CARAT_SKIP_WITHOUT(gemma3_from_gguf(), "the real 270M");
  expect_big_inputs_work(*gemma3_from_gguf());
}

}  // namespace
}  // namespace carat
