#include <gtest/gtest.h>

#include <filesystem>

#include "carat/error.h"
#include "tests/text/small_tokenizers.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;

constexpr int32_t kFirst = 260;  // the id after the base tokens

Ids encode(const Tokenizer& tokenizer, const std::string& text,
           bool parse_special = true) {
  return tokenizer.encode(text,
                          {.add_bos = false, .parse_special = parse_special});
}

Json small_document() {
  return json_document({kMark, "a", "b", "c", "ab", "bc", "abc", kMark + "a"},
                       {{"b", "c"}, {"a", "bc"}, {"a", "b"}, {kMark, "a"}});
}

void expect_refused(const std::string& text, ErrorCode code,
                    const std::string& problem) {
  try {
    load_text(text);
    ADD_FAILURE() << "accepted; expected: " << problem;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), code) << message;
    EXPECT_EQ(message.rfind("some.json: ", 0), 0u) << message;
    EXPECT_NE(message.find(problem), message.npos) << message;
    EXPECT_LT(message.size(), 400u);
  }
}

/// The small document with the value at `pointer` replaced.
void expect_refused_with(const char* pointer, const Json& value, ErrorCode code,
                         const std::string& problem) {
  Json document = small_document();
  document[Json::json_pointer(pointer)] = value;
  expect_refused(document.dump(), code, problem);
}

TEST(JsonTokenizer, MergesInTheOrderOfTheList) {
  const auto tokenizer = load_text(small_document().dump());
  EXPECT_EQ(encode(*tokenizer, "abc"), Ids{kFirst + 6});
  EXPECT_EQ(encode(*tokenizer, "ab"), Ids{kFirst + 4});
  EXPECT_EQ(encode(*tokenizer, "aab"), (Ids{kFirst + 1, kFirst + 4}));
  EXPECT_EQ(encode(*tokenizer, " a a"), (Ids{kFirst + 7, kFirst + 7}));
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{2, kFirst + 6}));
}

TEST(JsonTokenizer, APieceThatNoMergeMakesIsNotFound) {
  const auto tokenizer = load_text(json_document({"a", "b", "ab"}, {}).dump());
  EXPECT_EQ(encode(*tokenizer, "ab"), (Ids{kFirst, kFirst + 1}));
}

TEST(JsonTokenizer, TakesMergesAsStringsToo) {
  Json document = small_document();
  document["model"]["merges"] = {"b c", "a bc", "a b", kMark + " a"};
  EXPECT_EQ(encode(*load_text(document.dump()), "abc a"),
            (Ids{kFirst + 6, kFirst + 7}));
}

TEST(JsonTokenizer, TakesMergesBeforeTheVocabulary) {
  const Json document = small_document();
  std::string text = document.dump();
  Json model = document["model"];
  const std::string merges = model["merges"].dump();
  model.erase("merges");
  Json rest = document;
  rest.erase("model");
  text = "{\"model\":{\"merges\":" + merges + "," + model.dump().substr(1) +
         "," + rest.dump().substr(1);
  EXPECT_EQ(encode(*load_text(text), "abc"), Ids{kFirst + 6});
}

TEST(JsonTokenizer, MergesOfByteTokensWork) {
  const auto tokenizer =
      load_text(json_document({"<0xC3><0xA9>"}, {{"<0xC3>", "<0xA9>"}}).dump());
  EXPECT_EQ(encode(*tokenizer, "\xC3\xA9\xC3\xAA"),
            (Ids{kFirst, 4 + 0xC3, 4 + 0xAA}));
}

TEST(JsonTokenizer, UnknownCharactersFuseAsTheModelSays) {
  Json document = small_document();
  for (const auto& token : base_tokens()) {
    if (token.type == 6) document["model"]["vocab"].erase(token.piece);
  }
  EXPECT_EQ(encode(*load_text(document.dump()), "zza\xC3\xA9z\xF0z"),
            (Ids{3, kFirst + 1, 3}));
  document["model"]["fuse_unk"] = false;
  EXPECT_EQ(encode(*load_text(document.dump()), "zza"),
            (Ids{3, 3, kFirst + 1}));
  document["model"]["unk_token"] = nullptr;
  EXPECT_EQ(encode(*load_text(document.dump()), "zza"), Ids{kFirst + 1});
}

TEST(JsonTokenizer, AddedTokensBesideTheModel) {
  Json document = small_document();
  document["added_tokens"].push_back(
      {{"id", 300}, {"content", "<x>"}, {"special", true}});
  document["added_tokens"].push_back(
      {{"id", 299}, {"content", "<x"}, {"special", false}});
  const auto tokenizer = load_text(document.dump());
  EXPECT_EQ(tokenizer->vocab_size(), 301);
  EXPECT_EQ(encode(*tokenizer, "<x><x"), (Ids{300, 299}));
  EXPECT_EQ(encode(*tokenizer, "<x>", false), (Ids{299, 4 + '>'}));
  EXPECT_EQ(tokenizer->decode(Ids{300, 299, 298}), "<x><x");
  EXPECT_EQ(tokenizer->decode(Ids{300, 299}, true), "<x");
}

TEST(JsonTokenizer, ASpacePrefixStandsBeforeEveryPartOfTheText) {
  Json document = small_document();
  const Json replace = document["normalizer"];
  const std::string mark = "\xe2\x96\x81";
  const Json prepend = {{"type", "Prepend"}, {"prepend", mark}};
  document["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", Json::array({prepend, replace})}};
  const auto prefixed = load_text(document.dump());
  const auto plain = load_text(small_document().dump());
  EXPECT_EQ(encode(*prefixed, "a b"), encode(*plain, " a b"));
  EXPECT_EQ(encode(*prefixed, "a<eos>b"), encode(*plain, " a<eos> b"));
  EXPECT_EQ(encode(*prefixed, "<eos>"), encode(*plain, "<eos>"));
  EXPECT_NE(encode(*prefixed, "a"), encode(*plain, "a"));
  document["normalizer"]["normalizers"] = Json::array({replace, prepend});
  EXPECT_THROW(load_text(document.dump()), Error);
  document["normalizer"]["normalizers"] =
      Json::array({{{"type", "Prepend"}, {"prepend", "_"}}, replace});
  EXPECT_THROW(load_text(document.dump()), Error);
}

TEST(JsonTokenizer, BosComesFromTheTemplate) {
  Json document = small_document();
  document["post_processor"] = nullptr;
  EXPECT_EQ(load_text(document.dump())->bos(), std::nullopt);
  EXPECT_EQ(load_text(document.dump())->encode("a"), Ids{kFirst + 1});
  document = small_document();
  document["post_processor"]["single"].erase(0);
  EXPECT_EQ(load_text(document.dump())->bos(), std::nullopt);
}

TEST(JsonTokenizer, RefusesWhatItCantFollow) {
  const auto unsupported = [](const char* pointer, const Json& value,
                              const std::string& problem) {
    expect_refused_with(pointer, value, ErrorCode::kUnsupported, problem);
  };
  unsupported("/model/type", "Unigram", "model type 'Unigram'");
  unsupported("/model/byte_fallback", false, "byte_fallback");
  unsupported("/model/dropout", 0.1, "dropout");
  unsupported("/model/ignore_merges", true, "ignore_merges");
  unsupported("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  unsupported("/normalizer", nullptr, "normalizer");
  unsupported("/normalizer/content", "_", "normalizer");
  unsupported("/pre_tokenizer", Json{{"type", "ByteLevel"}}, "pre_tokenizer");
  unsupported("/decoder/decoders", Json::array(), "decoder");
  unsupported("/post_processor", Json{{"type", "ByteLevel"}}, "post_processor");
  unsupported("/post_processor/single", Json::array(), "post_processor");
  unsupported("/added_tokens/0/lstrip", true, "'<pad>' with lstrip");
}

TEST(JsonTokenizer, RefusesWhatContradictsItself) {
  const auto corrupt = [](const char* pointer, const Json& value,
                          const std::string& problem) {
    expect_refused_with(pointer, value, ErrorCode::kCorrupt, problem);
  };
  corrupt("/model", nullptr, "model is missing");
  corrupt("/model/vocab", nullptr, "model.vocab is missing");
  corrupt("/model/merges", 3, "model.merges is missing");
  corrupt("/model/vocab/a", -5, "the id of 'a'");
  corrupt("/model/vocab/a", int64_t{1} << 40, "the id of 'a'");
  corrupt("/model/vocab/a", 1.5, "the id of 'a'");
  corrupt("/model/vocab/a", Json::array(), "the id of 'a'");
  corrupt("/model/vocab/a", 2000000000, "id 2000000000 in a vocabulary of");
  corrupt("/model/vocab/a", 5, "id 5 is given to more than one piece");
  corrupt("/model/merges/0", {"b", "zzz"}, "'zzz' is not in model.vocab");
  corrupt("/model/merges/0", {"b", "a"}, "'ba' is not in model.vocab");
  corrupt("/model/merges/0", {"b"}, "a pair of other than two");
  corrupt("/model/merges/0", {"b", "c", "a"}, "a pair of other than two");
  corrupt("/model/merges/0", "bc", "'bc'; expected two pieces");
  corrupt("/model/merges/0", 7, "model.merges");
  corrupt("/model/merges/0", Json::object(), "model.merges");
  corrupt("/model/merges/0/0", Json::array(), "model.merges");
  corrupt("/model/unk_token", "<none>", "unk_token");
  corrupt("/added_tokens", 1, "added_tokens");
  corrupt("/added_tokens/0", "x", "without content");
  corrupt("/added_tokens/0/id", -1, "'<pad>': its id");
  corrupt("/added_tokens/0/id", 1, "more than one piece");
  corrupt("/added_tokens/0/id", 290, "has id 290, in model.vocab 0");
  corrupt("/post_processor/special_tokens/<bos>/ids", {999}, "post_processor");
}

TEST(JsonTokenizer, RefusesWhatIsNoJsonObject) {
  for (const char* text :
       {"", "7", "[]", "\"x\"", "null", "{", "{}", "{\"model\":{}", "\xFF"}) {
    expect_refused(text, ErrorCode::kCorrupt, "");
  }
  expect_refused("{\"model\":" + std::string(100000, '['), ErrorCode::kCorrupt,
                 "nested more than");
  expect_refused("{\"model\":{\"vocab\":{\"" + std::string(100000, 'x'),
                 ErrorCode::kCorrupt, "not JSON");
  const std::string text = small_document().dump();
  expect_refused(text.substr(0, text.size() - 1) + ",\"model\":{}}",
                 ErrorCode::kCorrupt, "model is there twice");
  expect_refused(R"({"model":{"vocab":{},"vocab":{}}})", ErrorCode::kCorrupt,
                 "model.vocab is there twice");
}

TEST(JsonTokenizer, APieceGivenTwiceIsRefused) {
  Json document = small_document();
  document["model"]["vocab"] = "HERE";
  std::string text = document.dump();
  text.replace(text.find("\"HERE\""), 6,
               R"({"<bos>":2,"<eos>":1,"<pad>":0,"<unk>":3,"q":4,"q":5})");
  expect_refused(text, ErrorCode::kCorrupt, "'q' is there twice");
}

TEST(JsonTokenizer, AMissingFileIsNotFound) {
  try {
    load_json_tokenizer(std::filesystem::path("no/such/tokenizer.json"));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

TEST(JsonTokenizer, TheMalformedFilesAreRefused) {
  const auto folder = std::filesystem::path(CARAT_SHARED_DATA) /
                      "malformed-inputs" / "tokenizer";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "needs the golden data";
  }
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("valid-", 0) == 0) {
      const auto tokenizer = load_json_tokenizer(entry.path());
      EXPECT_EQ(encode(*tokenizer, "the the"), (Ids{289, 290}));
      continue;
    }
    ++refused;
    try {
      load_json_tokenizer(entry.path());
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(name), message.npos) << message;
      EXPECT_GT(message.size(), entry.path().string().size() + 10);
    }
  }
  EXPECT_EQ(refused, 7);
}

}  // namespace
}  // namespace carat
