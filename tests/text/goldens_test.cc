// Both loaders on the real Gemma 3 vocabulary, string by string.
#include <gtest/gtest.h>

#include "tests/text/golden_tokenizers.h"
#include "tests/text/small_tokenizers.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;

Ids ids_or(const nlohmann::json& row, const char* first, const char* second,
           const char* third = "ids") {
  for (const char* key : {first, second, third}) {
    if (row.contains(key)) return ids_of(row[key]);
  }
  return {};
}

Ids with_bos(Ids ids) {
  ids.insert(ids.begin(), 2);
  return ids;
}

TEST(JsonGoldens, EveryStringEncodesAsTheReference) {
  const Tokenizer* tokenizer = gemma3_from_json();
  CARAT_SKIP_WITHOUT(tokenizer, "the golden tokenizer.json and xz");
  const auto rows = golden_rows("gemma3.jsonl");
  ASSERT_EQ(rows.size(), 564u);
  for (const auto& row : rows) {
    const std::string text = from_hex(row["hex"]);
    EXPECT_EQ(tokenizer->encode(text, {.add_bos = false}), ids_of(row["ids"]))
        << row;
    EXPECT_EQ(tokenizer->encode(text), with_bos(ids_of(row["ids"]))) << row;
    EXPECT_EQ(
        tokenizer->encode(text, {.add_bos = false, .parse_special = false}),
        ids_or(row, "ids_no_special", "ids"))
        << row;
  }
}

TEST(JsonGoldens, EveryStringDecodesAsTheReference) {
  const Tokenizer* tokenizer = gemma3_from_json();
  CARAT_SKIP_WITHOUT(tokenizer, "the golden tokenizer.json and xz");
  for (const auto& row : golden_rows("gemma3.jsonl")) {
    const Ids ids = ids_of(row["ids"]);
    const std::string decoded = row.value("decoded", row["text"]);
    EXPECT_EQ(tokenizer->decode(ids), decoded) << row;
    EXPECT_EQ(tokenizer->decode(ids, true),
              row.value("decoded_skip_special", decoded))
        << row;
  }
}

TEST(JsonGoldens, KnowsGemmasSpecialTokens) {
  const Tokenizer* tokenizer = gemma3_from_json();
  CARAT_SKIP_WITHOUT(tokenizer, "the golden tokenizer.json and xz");
  EXPECT_EQ(tokenizer->vocab_size(), 262145);
  EXPECT_EQ(tokenizer->bos(), 2);
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()),
            (Ids{1, 106}));
  EXPECT_TRUE(tokenizer->is_special(105));
  EXPECT_TRUE(tokenizer->is_special(262144));
  EXPECT_FALSE(tokenizer->is_special(138));
  EXPECT_TRUE(tokenizer->is_byte(238));
  EXPECT_EQ(tokenizer->bytes(238), std::string(1, '\0'));
  EXPECT_EQ(tokenizer->bytes(138), "  ");
  EXPECT_EQ(tokenizer->piece(1902), "\xE2\x96\x81world");
  EXPECT_EQ(tokenizer->bytes(1902), " world");
  EXPECT_EQ(tokenizer->bytes(2), "<bos>");
}

TEST(GgufGoldens, EveryStringEncodesAsTheReference) {
  const Tokenizer* tokenizer = gemma3_from_gguf();
  CARAT_SKIP_WITHOUT(tokenizer, "the real 270M");
  const auto rows = golden_rows("gemma3.jsonl");
  if (rows.empty()) GTEST_SKIP() << "needs the golden data";
  for (const auto& row : rows) {
    const std::string text = from_hex(row["hex"]);
    const Ids ids = ids_or(row, "gguf_ids", "ids");
    EXPECT_EQ(tokenizer->encode(text, {.add_bos = false}), ids) << row;
    EXPECT_EQ(tokenizer->encode(text), with_bos(ids)) << row;
    EXPECT_EQ(
        tokenizer->encode(text, {.add_bos = false, .parse_special = false}),
        ids_or(row, "gguf_ids_no_special", "ids_no_special"))
        << row;
  }
}

TEST(GgufGoldens, EveryStringDecodesToItself) {
  const Tokenizer* tokenizer = gemma3_from_gguf();
  CARAT_SKIP_WITHOUT(tokenizer, "the real 270M");
  for (const auto& row : golden_rows("gemma3.jsonl")) {
    EXPECT_EQ(tokenizer->decode(ids_or(row, "gguf_ids", "ids")),
              row.value("decoded", row["text"]))
        << row;
  }
}

TEST(GgufGoldens, KnowsGemmasSpecialTokens) {
  const Tokenizer* tokenizer = gemma3_from_gguf();
  CARAT_SKIP_WITHOUT(tokenizer, "the real 270M");
  EXPECT_EQ(tokenizer->vocab_size(), 262144);
  EXPECT_EQ(tokenizer->bos(), 2);
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()),
            (Ids{1, 106}));
  EXPECT_TRUE(tokenizer->is_special(105));
  EXPECT_FALSE(tokenizer->is_special(138));
  EXPECT_TRUE(tokenizer->is_byte(238));
  EXPECT_EQ(tokenizer->bytes(138), "  ");
  EXPECT_EQ(tokenizer->bytes(1902), " world");
}

class InvalidUtf8Goldens : public testing::Test {
 protected:
  static void check(const Tokenizer& tokenizer) {
    const auto rows = golden_rows("gemma3-invalid-utf8.jsonl");
    if (rows.empty()) GTEST_SKIP() << "needs the golden data";
    for (const auto& row : rows) {
      const std::string text = from_hex(row["hex"]);
      const Ids ids = tokenizer.encode(text, {.add_bos = false});
      EXPECT_EQ(ids, ids_of(row["gguf_ids"])) << row;
      std::string bytes;
      for (const int32_t id : ids) bytes += tokenizer.bytes(id);
      // A space inside a broken character is spelled U+2581 before it is cut.
      if (text.find(' ') == text.npos) {
        EXPECT_EQ(bytes, text) << row;
      }
    }
  }
};

TEST_F(InvalidUtf8Goldens, JsonFallsBackToBytes) {
  CARAT_SKIP_WITHOUT(gemma3_from_json(), "the golden tokenizer.json and xz");
  check(*gemma3_from_json());
}

TEST_F(InvalidUtf8Goldens, GgufFallsBackToBytes) {
  CARAT_SKIP_WITHOUT(gemma3_from_gguf(), "the real 270M");
  check(*gemma3_from_gguf());
}

class StreamingGoldens : public testing::Test {
 protected:
  static void check(const Tokenizer& tokenizer) {
    const auto rows = golden_rows("gemma3-streaming.jsonl");
    if (rows.empty()) GTEST_SKIP() << "needs the golden data";
    for (const auto& row : rows) {
      const Ids ids = ids_of(row["ids"]);
      if (!row.contains("chunks")) {
        EXPECT_EQ(tokenizer.decode(ids), row["decoded"]) << row;
        continue;
      }
      StreamingDetokenizer stream(tokenizer);
      std::string joined;
      for (size_t i = 0; i < ids.size(); ++i) {
        const std::string chunk = stream.push(ids[i]);
        EXPECT_EQ(chunk, from_hex(row["chunks_hex"][i])) << i << " of " << row;
        joined += chunk;
      }
      EXPECT_EQ(stream.finish(), "") << row;
      EXPECT_EQ(joined, tokenizer.decode(ids)) << row;
    }
  }
};

TEST_F(StreamingGoldens, JsonChunks) {
  CARAT_SKIP_WITHOUT(gemma3_from_json(), "the golden tokenizer.json and xz");
  check(*gemma3_from_json());
}

TEST_F(StreamingGoldens, GgufChunks) {
  CARAT_SKIP_WITHOUT(gemma3_from_gguf(), "the real 270M");
  check(*gemma3_from_gguf());
}

TEST(SmolLm2Goldens, EveryStringEncodesAndDecodesAsTheReference) {
  const Tokenizer* tokenizer = smollm2_from_gguf();
  CARAT_SKIP_WITHOUT(tokenizer, "the real SmolLM2");
  const auto rows = golden_rows("smollm2.jsonl");
  if (rows.empty()) GTEST_SKIP() << "needs the golden data";
  ASSERT_EQ(rows.size(), 112u);
  for (const auto& row : rows) {
    const Ids ids = ids_of(row["ids"]);
    const std::string text = from_hex(row["hex"]);
    EXPECT_EQ(tokenizer->encode(text), ids) << row;
    EXPECT_EQ(tokenizer->encode(text, {.parse_special = false}),
              ids_or(row, "gguf_ids_no_special", "ids"))
        << row;
    const std::string decoded = row.value("decoded", row["text"]);
    EXPECT_EQ(tokenizer->decode(ids), decoded) << row;
    StreamingDetokenizer stream(*tokenizer);
    std::string joined;
    for (const int32_t id : ids) joined += stream.push(id);
    EXPECT_EQ(joined + stream.finish(), decoded) << row;
  }
}

// The same vocabulary as a tokenizer.json, as Hugging Face writes it.
TEST(SmolLm2Goldens, TheJsonEncodesAlike) {
  if (smollm2_from_gguf() == nullptr) {
    GTEST_SKIP() << "needs the real SmolLM2: see tests/CMakeLists.txt";
  }
  const GgufFile file(CARAT_REAL_LLAMA);
  const auto& tokens = *file.find_strings("tokenizer.ggml.tokens");
  const auto& types = *file.find_ints("tokenizer.ggml.token_type");
  nlohmann::json vocab = nlohmann::json::object();
  nlohmann::json added = nlohmann::json::array();
  for (size_t i = 0; i < tokens.size(); ++i) {
    vocab[std::string(tokens[i])] = i;
    if (types[i] != 3) continue;
    added.push_back({{"id", i}, {"content", tokens[i]}, {"special", true}});
  }
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json json = {
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Digits"}, {"individual_digits", true}}, byte_level}}}},
      {"post_processor", byte_level},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", *file.find_strings("tokenizer.ggml.merges")}}}};
  const auto tokenizer = load_text(json.dump());
  for (const auto& row : golden_rows("smollm2.jsonl")) {
    EXPECT_EQ(tokenizer->encode(from_hex(row["hex"])), ids_of(row["ids"]))
        << row;
  }
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()), (Ids{2, 0}));
}

TEST(SmolLm2Goldens, KnowsItsSpecialTokens) {
  const Tokenizer* tokenizer = smollm2_from_gguf();
  CARAT_SKIP_WITHOUT(tokenizer, "the real SmolLM2");
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()), (Ids{2, 0}));
  EXPECT_TRUE(tokenizer->is_special(1));
  EXPECT_TRUE(tokenizer->splits_characters());
}

}  // namespace
}  // namespace carat
