// tokenizer.model files, written byte by byte.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "carat/error.h"
#include "tests/protobuf_bytes.h"
#include "tests/text/golden_tokenizers.h"
#include "tests/text/small_tokenizers.h"

namespace carat {
namespace {

using Ids = std::vector<int32_t>;

/// Gemma's settings; tests change what they like.
struct Model {
  std::vector<GgufToken> pieces;
  uint64_t type = 2;
  int64_t bos = 2, eos = 1, unk = 3;
  uint64_t byte_fallback = 1;
  uint64_t dummy_prefix = 0, remove_extra = 0, escape = 1;
  std::string normalizer = "identity";
  std::string charsmap;

  std::string bytes() const {
    std::string out;
    for (const GgufToken& token : pieces) {
      std::string piece;
      put(piece, 1, token.piece);
      put(piece, 2, token.score);
      if (token.type != 1) put(piece, 3, static_cast<uint64_t>(token.type));
      put(out, 1, piece);
    }
    std::string trainer;
    put(trainer, 1, std::string("input.txt"));
    put(trainer, 3, type);
    put(trainer, 35, byte_fallback);
    put(trainer, 40, static_cast<uint64_t>(unk));
    put(trainer, 41, static_cast<uint64_t>(bos));
    put(trainer, 42, static_cast<uint64_t>(eos));
    put(out, 2, trainer);
    std::string rules;
    put(rules, 1, normalizer);
    if (!charsmap.empty()) put(rules, 2, charsmap);
    put(rules, 3, dummy_prefix);
    put(rules, 4, remove_extra);
    put(rules, 5, escape);
    put(out, 3, rules);
    return out;
  }
};

std::unique_ptr<Tokenizer> load(const Model& model, const Ids& eos = {}) {
  const std::string bytes = model.bytes();
  return load_sentencepiece_tokenizer(std::as_bytes(std::span(bytes)),
                                      "some.model", eos);
}

Model small_model() {
  Model model;
  model.pieces = base_tokens();  // 260 of them
  for (const GgufToken& token :
       {GgufToken{"a", -3}, GgufToken{"b", -4}, GgufToken{"ab", -1},
        GgufToken{kMark, -5}, GgufToken{kMark + "a", -2},
        GgufToken{"<tag>", 0, 4}, GgufToken{"<end_of_turn>", 0, 3}}) {
    model.pieces.push_back(token);
  }
  return model;
}

TEST(SentencepieceTokenizer, MergesByScoreAndFallsBackToBytes) {
  const auto tokenizer = load(small_model());
  EXPECT_EQ(tokenizer->encode("ab a"), (Ids{2, 262, 264}));
  EXPECT_EQ(tokenizer->encode("a<tag>x<bos>", {.add_bos = false}),
            (Ids{260, 265, 4 + 'x', 2}));
  EXPECT_EQ(tokenizer->decode(Ids{264, 261}), " ab");
  EXPECT_TRUE(tokenizer->is_byte(4 + 'x'));
  EXPECT_TRUE(tokenizer->is_special(2));
  EXPECT_EQ(Ids(tokenizer->eos().begin(), tokenizer->eos().end()),
            (Ids{1, 266}));
  const auto own = load(small_model(), {266});
  EXPECT_EQ(Ids(own->eos().begin(), own->eos().end()), (Ids{266}));
}

TEST(SentencepieceTokenizer, DummyPrefixAndAbsentIds) {
  Model model = small_model();
  model.dummy_prefix = 1;
  model.bos = -1;
  model.eos = -1;
  const auto tokenizer = load(model);
  EXPECT_EQ(tokenizer->encode("a"), (Ids{264}));
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
}

TEST(SentencepieceTokenizer, RefusesWhatItCantFollow) {
  const auto expect = [](const std::function<void(Model&)>& change,
                         ErrorCode code, const std::string& part) {
    SCOPED_TRACE(part);
    Model model = small_model();
    change(model);
    try {
      load(model);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with("some.model: "));
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << error.what();
    }
  };
  constexpr auto kUnsupported = ErrorCode::kUnsupported;
  constexpr auto kCorrupt = ErrorCode::kCorrupt;
  expect([](Model& m) { m.type = 1; }, kUnsupported, "model_type 1");
  expect([](Model& m) { m.charsmap = "x"; }, kUnsupported, "charsmap");
  expect([](Model& m) { m.normalizer = "nmt_nfkc"; }, kUnsupported,
         "'nmt_nfkc'");
  expect([](Model& m) { m.remove_extra = 1; }, kUnsupported, "extra");
  expect([](Model& m) { m.escape = 0; }, kUnsupported, "escape");
  expect([](Model& m) { m.pieces.clear(); }, kCorrupt, "no pieces");
  expect([](Model& m) { m.bos = 267; }, kCorrupt, "bos_id is 267");
  expect([](Model& m) { m.byte_fallback = 0; }, kCorrupt, "byte_fallback");
  expect([](Model& m) { m.pieces[5].piece = "x"; }, kCorrupt, "'<0xNN>'");
  expect([](Model& m) { m.pieces[5].type = 7; }, kCorrupt, "type 7");
  expect([](Model& m) { m.pieces[5].piece = ""; }, kCorrupt, "is empty");
  const std::string bytes = small_model().bytes();
  for (size_t size = 0; size < bytes.size(); size += 7) {
    const std::string_view part = std::string_view(bytes).substr(0, size);
    EXPECT_THROW(load_sentencepiece_tokenizer(std::as_bytes(std::span(part)),
                                              "some.model"),
                 Error)
        << size;
  }
}

// The real vocabulary as a tokenizer.model: the same ids as from the GGUF.
TEST(SentencepieceTokenizer, GemmasVocabularyEncodesAsTheReference) {
  CARAT_SKIP_WITHOUT(gemma3_from_gguf(), "the real 270M");
  const GgufFile file(CARAT_REAL_MODEL);
  const auto& tokens = *file.find_strings("tokenizer.ggml.tokens");
  const auto& scores = *file.find_floats("tokenizer.ggml.scores");
  const auto& types = *file.find_ints("tokenizer.ggml.token_type");
  Model model;
  for (size_t i = 0; i < tokens.size(); ++i) {
    model.pieces.push_back({std::string(tokens[i]),
                            static_cast<float>(scores[i]),
                            static_cast<int32_t>(types[i])});
  }
  const auto tokenizer = load(model);
  for (const auto& row : golden_rows("gemma3.jsonl")) {
    EXPECT_EQ(tokenizer->encode(from_hex(row["hex"]), {.add_bos = false}),
              ids_of(row.contains("gguf_ids") ? row["gguf_ids"] : row["ids"]))
        << row;
  }
}

}  // namespace
}  // namespace carat
