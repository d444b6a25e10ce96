#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "carat/error.h"
#include "tests/text/small_tokenizers.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;

constexpr int32_t kFirst = 260;  // the id after the base tokens
constexpr int32_t kByteZero = 4;

Ids encode(const Tokenizer& tokenizer, const std::string& text,
           bool parse_special = true) {
  return tokenizer.encode(text,
                          {.add_bos = false, .parse_special = parse_special});
}

std::vector<GgufToken> with(std::vector<GgufToken> more) {
  std::vector<GgufToken> tokens = base_tokens();
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

void expect_refused(const GgufWriter& writer, ErrorCode code,
                    const std::string& problem) {
  try {
    load(writer);
    ADD_FAILURE() << "accepted; expected: " << problem;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), code) << message;
    EXPECT_EQ(message.rfind("some.gguf: ", 0), 0u) << message;
    EXPECT_NE(message.find(problem), message.npos) << message;
  }
}

TEST(GgufTokenizer, MergesTheBestScoreFirst) {
  const auto tokenizer = gguf_tokenizer(with(
      {{"a", -9}, {"b", -9}, {"c", -9}, {"ab", -2}, {"bc", -1}, {"abc", -3}}));
  EXPECT_EQ(encode(*tokenizer, "abc"), Ids{kFirst + 5});
  EXPECT_EQ(encode(*tokenizer, "ab"), Ids{kFirst + 3});
  EXPECT_EQ(encode(*tokenizer, "bcab"), (Ids{kFirst + 4, kFirst + 3}));
  // "bc" first, and then nothing is spelled "aabc".
  EXPECT_EQ(encode(*tokenizer, "aabc"), (Ids{kFirst, kFirst + 5}));
}

TEST(GgufTokenizer, TiesGoLeft) {
  const auto tokenizer =
      gguf_tokenizer(with({{"a", -9}, {"aa", -0.0f}, {"ab", 0.0f}, {"b", -9}}));
  EXPECT_EQ(encode(*tokenizer, "aab"), (Ids{kFirst + 1, kFirst + 3}));
  EXPECT_EQ(encode(*tokenizer, "aaa"), (Ids{kFirst + 1, kFirst}));
}

TEST(GgufTokenizer, MergesCharactersThatAreNoPieces) {
  const auto tokenizer = gguf_tokenizer(with({{"xyz", -2}, {"yz", -1}}));
  EXPECT_EQ(encode(*tokenizer, "xyz"), Ids{kFirst});
  EXPECT_EQ(encode(*tokenizer, "x"), Ids{kByteZero + 'x'});
}

TEST(GgufTokenizer, SpellingASpecialTokenOutNeverMakesIt) {
  const auto tokenizer = gguf_tokenizer(
      with({{"<", -9}, {"x", -9}, {">", -9}, {"<x", -2}, {"<x>", -1, 3}}));
  EXPECT_EQ(encode(*tokenizer, "<x>"), Ids{kFirst + 4});
  EXPECT_EQ(encode(*tokenizer, "<x>", false), (Ids{kFirst + 3, kFirst + 2}));
  // Nor a byte token.
  for (const int32_t id : encode(*tokenizer, "<0x41>")) {
    EXPECT_NE(id, kByteZero + 0x41);
  }
}

TEST(GgufTokenizer, MatchesUserDefinedTokensAlsoWithoutSpecials) {
  const auto tokenizer =
      gguf_tokenizer(with({{"\n", 0, 4}, {"\n\n", 0, 4}, {"</s>", 0, 4}}));
  EXPECT_EQ(encode(*tokenizer, "\n\n\n", false), (Ids{kFirst + 1, kFirst}));
  // But one that looks like a control token counts as one, as the reference
  // has it, though only here: it has text of its own and ends nothing.
  EXPECT_EQ(encode(*tokenizer, "</s>"), Ids{kFirst + 2});
  EXPECT_EQ(encode(*tokenizer, "</s>", false).size(), 4u);
  EXPECT_FALSE(tokenizer->is_special(kFirst + 2));
  EXPECT_EQ(tokenizer->eos().size(), 1u);
}

TEST(GgufTokenizer, PutsASpaceBeforeTextWhereTheFileAsks) {
  const auto writer = gguf_vocabulary(
      with({{kMark, -9}, {"a", -9}, {kMark + "a", -1}, {"\n", 0, 4}}));
  const Ids with_prefix = {kFirst + 2, kFirst + 3, kFirst + 2};
  EXPECT_EQ(encode(*load(writer), "a\na"), with_prefix);
  EXPECT_EQ(encode(*load(GgufWriter(writer).add(
                       "tokenizer.ggml.add_space_prefix", false)),
                   "a\na"),
            (Ids{kFirst + 1, kFirst + 3, kFirst + 1}));
  EXPECT_EQ(encode(*load(writer), ""), Ids{});
}

TEST(GgufTokenizer, UnknownBytesBecomeOneUnknownTokenOrNothing) {
  const std::vector<GgufToken> tokens = {
      {"<unk>", 0, 2}, {"a", 0, 1}, {"<0xC3>", 0, 6}};
  const auto with_unknown = load(
      gguf_vocabulary(tokens).add("tokenizer.ggml.add_space_prefix", false));
  EXPECT_EQ(encode(*with_unknown, "a\xC3\xA9zza\xC3"), (Ids{1, 0, 1, 2}));
  const auto without = load(gguf_vocabulary({{"a", 0, 1}, {"b", 0, 1}})
                                .add("tokenizer.ggml.add_space_prefix", false));
  EXPECT_EQ(encode(*without, "azb"), (Ids{0, 1}));
}

TEST(GgufTokenizer, FindsItsSpecialTokens) {
  const auto tokens = with({{"<end_of_turn>", 0, 3}, {"x", 0, 1}});
  const auto tokenizer = gguf_tokenizer(tokens);
  EXPECT_EQ(tokenizer->bos(), 2);
  EXPECT_EQ(tokenizer->encode("x"), (Ids{2, kFirst + 1}));
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()),
            (Ids{1, kFirst}));
  const auto other =
      load(gguf_vocabulary(tokens)
               .add("tokenizer.ggml.bos_token_id", uint32_t{2})
               .add("tokenizer.ggml.eot_token_id", uint32_t{kFirst + 1})
               .add("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(other->bos(), std::nullopt);
  // Without eos_token_id, id 2 is SentencePiece's custom.
  EXPECT_EQ(Ids(other->eos().begin(), other->eos().end()),
            (Ids{2, kFirst + 1, kFirst}));
}

TEST(GgufTokenizer, IdsOutsideTheVocabularyAreErrors) {
  const auto tokenizer = gguf_tokenizer(base_tokens());
  for (const int32_t id : {-1, 260, std::numeric_limits<int32_t>::max(),
                           std::numeric_limits<int32_t>::min()}) {
    EXPECT_THROW(tokenizer->decode(Ids{id}), Error);
    EXPECT_THROW(tokenizer->piece(id), Error);
    EXPECT_THROW(tokenizer->bytes(id), Error);
    EXPECT_THROW(tokenizer->is_byte(id), Error);
    EXPECT_THROW(tokenizer->is_special(id), Error);
    EXPECT_THROW(StreamingDetokenizer(*tokenizer, true).push(id), Error);
  }
}

TEST(GgufTokenizer, PiecesThatAreNotUtf8DecodeToUtf8) {
  const auto tokenizer = gguf_tokenizer(with({{"\xFF\xFE\xC3", 0, 1}}));
  const std::string replaced = "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD";
  EXPECT_EQ(tokenizer->decode(Ids{kFirst}), replaced);
  EXPECT_EQ(StreamingDetokenizer(*tokenizer).push(kFirst), replaced);
  EXPECT_EQ(tokenizer->bytes(kFirst), "\xFF\xFE\xC3");
}

TEST(GgufTokenizer, RefusesWhatItCantFollow) {
  GgufWriter no_model;
  expect_refused(no_model, ErrorCode::kCorrupt, "model is missing");
  expect_refused(GgufWriter().add("tokenizer.ggml.model", "bert"),
                 ErrorCode::kUnsupported, "model 'bert' is unsupported");
  expect_refused(GgufWriter().add("tokenizer.ggml.model", "llama"),
                 ErrorCode::kCorrupt, "tokens is missing");
  expect_refused(gguf_vocabulary({}), ErrorCode::kCorrupt, "tokens is empty");
  const GgufWriter tokens =
      GgufWriter()
          .add("tokenizer.ggml.model", "llama")
          .add_array("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  expect_refused(tokens, ErrorCode::kCorrupt, "scores is missing");
  expect_refused(GgufWriter(tokens).add_array("tokenizer.ggml.scores",
                                              std::vector<float>{1, 2}),
                 ErrorCode::kCorrupt, "scores has 2 entries");
  expect_refused(
      GgufWriter(tokens)
          .add_array("tokenizer.ggml.scores", std::vector<float>{1})
          .add_array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1}),
      ErrorCode::kCorrupt, "token_type has 2 entries");
  expect_refused(gguf_vocabulary({{"a", std::nanf(""), 1}}),
                 ErrorCode::kCorrupt, "NaN");
  expect_refused(gguf_vocabulary({{"a", 0, 7}}), ErrorCode::kCorrupt,
                 "is 7; expected 0 to 6");
  expect_refused(gguf_vocabulary({{"a", 0, 6}}), ErrorCode::kCorrupt,
                 "expected '<0xNN>'");
  for (const char* key :
       {"bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id"}) {
    expect_refused(gguf_vocabulary({{"a", 0, 1}})
                       .add(std::string("tokenizer.ggml.") + key, uint32_t{1}),
                   ErrorCode::kCorrupt, std::string(key) + " is 1; expected");
  }
}

// "ab", "abc" and a space before "a"; then <|end|>, and an added "<b>".
GgufWriter byte_level_vocabulary(const char* pre,
                                 const std::vector<std::string>& merges) {
  const std::vector<std::string> tokens = {"a",
                                           "b",
                                           "c",
                                           "\xC4\xA0",
                                           "ab",
                                           "abc",
                                           "\xC4\xA0"
                                           "a",
                                           "<|im_end|>",
                                           "<b>",
                                           "\xC3\xA3",
                                           "\xC4\x81"};
  const std::vector<int32_t> types = {1, 1, 1, 1, 1, 1, 1, 3, 4, 1, 1};
  GgufWriter writer;
  writer.add("tokenizer.ggml.model", "gpt2")
      .add("tokenizer.ggml.pre", pre)
      .add_array("tokenizer.ggml.tokens", tokens)
      .add_array("tokenizer.ggml.token_type", types)
      .add_array("tokenizer.ggml.merges", merges);
  return writer;
}

const std::vector<std::string> kMerges = {"a b", "\xC4\xA0 a"};

TEST(GgufTokenizer, ByteLevelMergesInsideWords) {
  const auto tokenizer = load(byte_level_vocabulary("gpt-2", kMerges));
  const auto encode = [&](const std::string& text, bool special = true) {
    return tokenizer->encode(text, {.parse_special = special});
  };
  EXPECT_EQ(encode("abc ac"), (Ids{4, 2, 6, 2}));
  EXPECT_EQ(encode("a<b>b<|im_end|>"), (Ids{0, 8, 1, 7}));
  // Bytes without a piece vanish.
  EXPECT_EQ(encode("xa<|im_end|>b", false), (Ids{0, 1}));
  EXPECT_EQ(tokenizer->bytes(6), " a");
  EXPECT_EQ(tokenizer->piece(6),
            "\xC4\xA0"
            "a");
  EXPECT_EQ(tokenizer->bytes(8), "<b>");
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()), (Ids{7}));
  // 9 is the byte E3, 10 is 01.
  EXPECT_EQ(tokenizer->decode(Ids{0, 9, 10, 1}),
            "a\xEF\xBF\xBD\x01"
            "b");
  StreamingDetokenizer stream(*tokenizer);
  EXPECT_EQ(stream.push(9), "");
  EXPECT_EQ(stream.push(0),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(stream.push(9), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(GgufTokenizer, Llama3PrefersWholeWords) {
  const auto tokenizer =
      load(byte_level_vocabulary("llama-bpe", kMerges)
               .add("tokenizer.ggml.bos_token_id", uint32_t{7}));
  EXPECT_EQ(tokenizer->encode("abc ac"), (Ids{7, 5, 6, 2}));
}

TEST(GgufTokenizer, RefusesBrokenByteLevelVocabularies) {
  expect_refused(byte_level_vocabulary("qwen2", kMerges),
                 ErrorCode::kUnsupported, "pre 'qwen2' is unsupported");
  expect_refused(byte_level_vocabulary("gpt-2", {"ab"}), ErrorCode::kCorrupt,
                 "merges: 'ab'; expected two pieces");
  expect_refused(byte_level_vocabulary("gpt-2", {"a a"}), ErrorCode::kCorrupt,
                 "merges: 'aa' is not in tokens");
  expect_refused(byte_level_vocabulary("gpt-2", {""}), ErrorCode::kCorrupt,
                 "expected two pieces");
}

TEST(GgufTokenizer, TheMalformedFilesAreRefused) {
  const auto folder =
      std::filesystem::path(CARAT_SHARED_DATA) / "malformed-inputs" / "gguf";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "needs the golden data";
  }
  const auto load_file = [&](const char* name) {
    return load_gguf_tokenizer(GgufFile(folder / name));
  };
  EXPECT_EQ(load_file("valid-gemma3.gguf")->vocab_size(), 293);
  EXPECT_EQ(load_file("gguf-token-invalid-utf8.gguf")->vocab_size(), 293);
  for (const char* name :
       {"gguf-scores-too-short.gguf", "gguf-tokens-missing.gguf",
        "gguf-eos-out-of-range.gguf"}) {
    try {
      load_file(name);
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace carat
