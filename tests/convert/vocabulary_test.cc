// Vocabularies between GGUF, tokenizer.json and tokenizer.model: the same ids
// from the same text in each.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"
#include "convert/vocabulary_arrays.h"
#include "tests/protobuf_bytes.h"
#include "text/byte_level.h"
#include "text/token_table.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

class VocabularyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-vocab-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write_gguf(const VocabularyArrays& arrays, const Ids& eos) const {
    const fs::path path = folder_ / "vocabulary.gguf";
    GgufFileWriter writer(path);
    write_gguf_vocabulary(writer, arrays, eos);
    const int64_t shape[] = {1};
    writer.add_tensor("t", Encoding::kF32, shape);
    const float number = 0;
    writer.write(std::as_bytes(std::span(&number, 1)));
    writer.finish();
    return path;
  }
  fs::path write_text(const char* name, const std::string& text) const {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  fs::path folder_;
};

std::string spell_bytes(std::string_view bytes) {
  std::string spelled;
  append_spelled_bytes(bytes, spelled);
  return spelled;
}

/// Every byte, some merges, and two tokens that no merge makes.
VocabularyArrays byte_level_arrays(PreTokenizer rule) {
  VocabularyArrays arrays;
  for (int byte = 0; byte < 256; ++byte) {
    arrays.tokens.push_back(
        spell_bytes(std::string(1, static_cast<char>(byte))));
  }
  const std::string space = spell_bytes(" ");
  for (const auto& [left, right] :
       {std::pair<std::string, std::string>{"a", "b"},
        {space, "ab"},
        {"1", "2"},
        {"12", "3"},
        {"'", "t"},
        {"!", "!"}}) {
    arrays.merges.push_back(left + " " + right);
    arrays.tokens.push_back(left + right);
  }
  arrays.types.assign(arrays.tokens.size(), kNormal);
  arrays.tokens.insert(arrays.tokens.end(), {"<|im_end|>", "<tag>"});
  arrays.types.insert(arrays.types.end(), {kControl, kUserDefined});
  arrays.bos = 262;
  arrays.add_bos = rule == PreTokenizer::kLlama3;
  arrays.byte_level = rule;
  return arrays;
}

TEST_F(VocabularyTest, ByteLevelCrossesContainers) {
  std::vector<Ids> of_rules;
  for (const PreTokenizer rule :
       {PreTokenizer::kGpt2, PreTokenizer::kDigitsApart,
        PreTokenizer::kLlama3}) {
    const Ids eos = {262};
    const fs::path gguf = write_gguf(byte_level_arrays(rule), eos);
    const GgufFile file(gguf);
    const auto original = load_gguf_tokenizer(file);
    const VocabularyArrays read = read_gguf_vocabulary(file);
    const fs::path json = write_text("tokenizer.json", vocabulary_json(read));
    VocabularyArrays back = read_json_vocabulary(json, 270);
    EXPECT_EQ(back.byte_level, rule);
    EXPECT_EQ(back.merges, read.merges);
    EXPECT_EQ(back.tokens[269], "[PAD269]");
    back.bos = load_json_tokenizer(json)->bos();
    back.add_bos = back.bos.has_value();
    const auto from_json = load_json_tokenizer(json, eos);
    const auto from_gguf = load_tokenizer(write_gguf(back, eos));
    for (const Tokenizer* tokenizer : {from_json.get(), from_gguf.get()}) {
      EXPECT_EQ(tokenizer->bos(), original->bos());
      EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()), eos);
      for (const std::string text :
           {"", "ab ab", "1234 don't", "x!!<|im_end|> <tag>ab",
            "caf\xc3\xa9  \xff\n\n12345"}) {
        EXPECT_EQ(tokenizer->encode(text), original->encode(text)) << text;
      }
      EXPECT_EQ(tokenizer->decode(original->encode("1 ab\n")),
                original->decode(original->encode("1 ab\n")));
    }
    of_rules.push_back(original->encode("12345", {.add_bos = false}));
  }
  EXPECT_EQ(of_rules[1].size(), 5U);  // single digits
  EXPECT_LT(of_rules[0].size(), 5U);
}

TEST_F(VocabularyTest, AByteWithoutAPieceIsDroppedInBoth) {
  VocabularyArrays arrays = byte_level_arrays(PreTokenizer::kGpt2);
  arrays.tokens['z'] = "<unk>";
  arrays.types['z'] = kControl;
  arrays.unknown = 'z';
  const GgufFile file(write_gguf(arrays, {}));
  const auto original = load_gguf_tokenizer(file);
  const auto converted = load_json_tokenizer(write_text(
      "tokenizer.json", vocabulary_json(read_gguf_vocabulary(file))));
  EXPECT_EQ(original->encode("xzy"), (Ids{'x', 'y'}));
  EXPECT_EQ(converted->encode("xzy"), (Ids{'x', 'y'}));
}

TEST_F(VocabularyTest, WhatGgufCantSayIsRefused) {
  nlohmann::json document = nlohmann::json::parse(
      vocabulary_json(byte_level_arrays(PreTokenizer::kGpt2)));
  document["model"]["ignore_merges"] = true;
  const fs::path path = write_text("tokenizer.json", document.dump());
  EXPECT_THROW(read_json_vocabulary(path, 264), Error);
  document["model"]["ignore_merges"] = false;
  document["decoder"] = nullptr;
  write_text("tokenizer.json", document.dump());
  EXPECT_THROW(read_json_vocabulary(path, 264), Error);
}

TEST_F(VocabularyTest, NullsAreLikeAbsentMembers) {
  nlohmann::json document = nlohmann::json::parse(
      vocabulary_json(byte_level_arrays(PreTokenizer::kGpt2)));
  document["model"]["ignore_merges"] = nullptr;
  document["added_tokens"][0]["special"] = nullptr;
  const fs::path path = write_text("tokenizer.json", document.dump());
  EXPECT_NE(load_json_tokenizer(path), nullptr);
  EXPECT_EQ(read_json_vocabulary(path, 264).types[262], kUserDefined);
}

TEST_F(VocabularyTest, BytesThatAreNotUtf8BecomeText) {
  VocabularyArrays arrays = byte_level_arrays(PreTokenizer::kLlama3);
  arrays.tokens[262] = "<\xff>";
  const auto tokenizer = load_json_tokenizer(
      write_text("tokenizer.json", vocabulary_json(arrays)));
  EXPECT_EQ(tokenizer->bos(), 262);
  EXPECT_EQ(tokenizer->piece(262), "<\xef\xbf\xbd>");
}

TEST_F(VocabularyTest, ATokenizerModelBecomesAGgufVocabulary) {
  std::string bytes;
  const auto add = [&](const std::string& text, float score, uint64_t type) {
    std::string piece;
    put(piece, 1, text);
    put(piece, 2, score);
    put(piece, 3, type);
    put(bytes, 1, piece);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("</s>", 0, 3);
  add("<0xC3>", 0, 6);
  add("<0xA9>", 0, 6);
  add("a", -3, 1);
  add("b", -4, 1);
  add("ab", -1, 1);
  add("\xe2\x96\x81", -5, 1);
  add("<tag>", 0, 4);
  std::string trainer;
  put(trainer, 3, uint64_t{2});
  put(trainer, 35, uint64_t{1});
  put(bytes, 2, trainer);
  std::string normalizer;
  put(normalizer, 1, std::string("identity"));
  put(normalizer, 3, uint64_t{0});
  put(normalizer, 4, uint64_t{0});
  put(bytes, 3, normalizer);

  const fs::path path = write_text("tokenizer.model", bytes);
  const auto original = load_tokenizer(path);
  VocabularyArrays arrays = read_sentencepiece_vocabulary(path, 12);
  EXPECT_EQ(arrays.unknown, 0);
  EXPECT_EQ(arrays.tokens[11], "[PAD11]");
  arrays.bos = original->bos();
  arrays.add_bos = true;
  const auto tokenizer = load_tokenizer(
      write_gguf(arrays, {original->eos().begin(), original->eos().end()}));
  EXPECT_EQ(original->encode("ab"), (Ids{1, 7}));
  for (const std::string text : {"ab a", "\xc3\xa9", "xx<tag>a</s>", ""}) {
    EXPECT_EQ(tokenizer->encode(text), original->encode(text)) << text;
  }
  EXPECT_TRUE(std::ranges::equal(tokenizer->eos(), original->eos()));
}

VocabularyArrays sentencepiece_arrays() {
  VocabularyArrays arrays;
  const auto add = [&](const std::string& text, float score, int32_t type) {
    arrays.tokens.push_back(text);
    arrays.scores.push_back(score);
    arrays.types.push_back(type);
  };
  add("<unk>", 0, kUnknown);
  add("<s>", 0, kControl);
  add("</s>", 0, kControl);
  add("\xe2\x96\x81", -5, kNormal);
  add("a", -6, kNormal);
  add("b", -7, kNormal);
  add("\xe2\x96\x81"
      "a",
      -2, kNormal);
  add("ab", -1, kNormal);
  add("<tag>", 0, kUserDefined);
  arrays.bos = 1;
  arrays.unknown = 0;
  arrays.add_bos = true;
  return arrays;
}

TEST_F(VocabularyTest, ASpacePrefixCrossesContainers) {
  for (const bool prefix : {false, true}) {
    VocabularyArrays arrays = sentencepiece_arrays();
    arrays.add_space_prefix = prefix;
    const GgufFile file(write_gguf(arrays, {2}));
    const auto original = load_gguf_tokenizer(file);
    const fs::path path = write_text(
        "tokenizer.json", vocabulary_json(read_gguf_vocabulary(file)));
    const auto converted = load_json_tokenizer(path);
    EXPECT_EQ(original->encode("a"), prefix ? (Ids{1, 6}) : (Ids{1, 4}));
    for (const std::string text : {"", "a", "ab a", " a", "a<tag>a</s>ab"}) {
      EXPECT_EQ(converted->encode(text), original->encode(text)) << text;
    }
    EXPECT_EQ(read_json_vocabulary(path, 9).add_space_prefix, prefix);
  }
}

TEST_F(VocabularyTest, WhatGgufFilesLeaveOutIsReadAsLoadersDo) {
  VocabularyArrays arrays = sentencepiece_arrays();
  arrays.types[6] = 5;  // unused ones merge, as those of no type
  arrays.types[7] = 0;
  arrays.tokens.push_back("a");  // and the last of several counts
  arrays.scores.push_back(-3);
  arrays.types.push_back(kNormal);
  arrays.bos.reset();
  arrays.unknown.reset();
  arrays.add_space_prefix = true;
  const GgufFile file(write_gguf(arrays, {2}));
  const auto original = load_gguf_tokenizer(file);
  EXPECT_EQ(original->encode("a\xc3\xa9 ab"), (Ids{1, 6, 0, 3, 7}));
  const auto converted = load_json_tokenizer(write_text(
      "tokenizer.json", vocabulary_json(read_gguf_vocabulary(file))));
  for (const std::string text : {"a", "ab a", "a<tag>a</s>ab", "\xc3\xa9"}) {
    EXPECT_EQ(converted->encode(text), original->encode(text)) << text;
  }
}

TEST_F(VocabularyTest, BadArraysAreRefusedBeforeAnythingIsWritten) {
  VocabularyArrays arrays = sentencepiece_arrays();
  arrays.scores[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(read_gguf_vocabulary(GgufFile(write_gguf(arrays, {}))), Error);
  arrays = sentencepiece_arrays();
  arrays.types[4] = 9;
  EXPECT_THROW(read_gguf_vocabulary(GgufFile(write_gguf(arrays, {}))), Error);
  arrays = sentencepiece_arrays();
  arrays.scores.pop_back();
  EXPECT_THROW(read_gguf_vocabulary(GgufFile(write_gguf(arrays, {}))), Error);
  arrays = sentencepiece_arrays();
  arrays.tokens[4] = std::string(5000, 'a');
  EXPECT_THROW(vocabulary_json(arrays), Error);
}

}  // namespace
}  // namespace carat
