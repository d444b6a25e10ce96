// The tokenizer of a GGUF file: `tokenizer.ggml.*`, models "llama"
// (SentencePiece) and "gpt2" (byte-level BPE).
// Source: the GGUF specification (ggml, docs/gguf.md); token types as in
// SentencePiece's ModelProto.SentencePiece.Type.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "carat/error.h"
#include "formats/quote.h"
#include "text/bpe_tokenizer.h"
#include "text/byte_level_rules.h"
#include "text/spm_tokenizer.h"
#include "text/token_table.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

using Strings = std::vector<std::string_view>;

[[noreturn]] void fail(const GgufFile& file, const std::string& problem,
                       ErrorCode code = ErrorCode::kCorrupt) {
  throw Error(code, file.path().string() + ": tokenizer.ggml." + problem);
}

const Strings& read_tokens(const GgufFile& file) {
  const Strings* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) fail(file, "tokens is missing");
  if (tokens->empty()) fail(file, "tokens is empty");
  if (tokens->size() > std::numeric_limits<int32_t>::max()) {
    fail(file, "tokens: more than 2^31 - 1", ErrorCode::kUnsupported);
  }
  return *tokens;
}

std::string length_problem(const char* key, size_t found, size_t expected) {
  return std::string(key) + " has " + std::to_string(found) +
         " entries; expected one for each of " + std::to_string(expected) +
         " tokens";
}

std::vector<float> read_scores(const GgufFile& file, size_t count) {
  const std::vector<double>* scores = file.find_floats("tokenizer.ggml.scores");
  if (scores == nullptr) fail(file, "scores is missing");
  if (scores->size() != count) {
    fail(file, length_problem("scores", scores->size(), count));
  }
  std::vector<float> narrow(count);
  for (size_t i = 0; i < count; ++i) {
    const double score = (*scores)[i];
    if (std::isnan(score)) {
      fail(file, "scores: that of token " + std::to_string(i) + " is NaN");
    }
    constexpr double kMax = std::numeric_limits<float>::max();
    narrow[i] = static_cast<float>(std::clamp(score, -kMax, kMax));
  }
  return narrow;
}

/// Without `token_type`, spelling decides what is a byte.
std::vector<TokenKind> read_kinds(const GgufFile& file, const Strings& tokens,
                                  bool spells_bytes) {
  const std::vector<int64_t>* types =
      file.find_ints("tokenizer.ggml.token_type");
  if (types != nullptr && types->size() != tokens.size()) {
    fail(file, length_problem("token_type", types->size(), tokens.size()));
  }
  std::vector<TokenKind> kinds(tokens.size(), TokenKind::kText);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool spelled_as_byte =
        spells_bytes && parse_byte_piece(tokens[i]).has_value();
    switch (types == nullptr ? (spelled_as_byte ? kByte : kNormal)
                             : (*types)[i]) {
      case kUndefined:
      case kNormal:
      case kUnused:
        break;
      case kUnknown:
      case kControl:
        kinds[i] = TokenKind::kSpecial;
        break;
      case kUserDefined:
        kinds[i] = TokenKind::kAdded;
        break;
      case kByte:
        if (!spelled_as_byte) {
          fail(file,
               "tokens: " + quote(tokens[i]) + " (" + std::to_string(i) +
                   ") is of the byte type; expected " +
                   (spells_bytes ? "'<0xNN>'" : "none in byte-level BPE"));
        }
        kinds[i] = TokenKind::kByte;
        break;
      default:
        fail(file, "token_type: that of token " + std::to_string(i) + " is " +
                       std::to_string((*types)[i]) + "; expected 0 to 6");
    }
  }
  return kinds;
}

/// The id that `key` names. Without the key, `fallback` if it is a special
/// token: SentencePiece's customary place, which older converters leave out.
std::optional<int32_t> read_id(const GgufFile& file, const std::string& key,
                               const std::vector<TokenKind>& kinds,
                               std::optional<size_t> fallback = {}) {
  const std::optional<int64_t> id = file.find_int("tokenizer.ggml." + key);
  if (id) {
    if (*id < 0 || static_cast<uint64_t>(*id) >= kinds.size()) {
      fail(file, key + " is " + std::to_string(*id) +
                     "; expected less than the vocabulary's size, " +
                     std::to_string(kinds.size()));
    }
    return static_cast<int32_t>(*id);
  }
  if (fallback && *fallback < kinds.size() &&
      kinds[*fallback] == TokenKind::kSpecial) {
    return static_cast<int32_t>(*fallback);
  }
  return std::nullopt;
}

void find_eos(const GgufFile& file, TokenTable& table) {
  const auto customary =
      table.byte_level ? std::nullopt : std::optional<size_t>(2);
  for (const auto& id : {read_id(file, "eos_token_id", table.kinds, customary),
                         read_id(file, "eot_token_id", table.kinds)}) {
    if (id) add_eos(*id, table);
  }
  add_turn_ends(table);
}

/// What both models have: pieces, kinds and added tokens.
TokenTable read_table(const GgufFile& file, const Strings& tokens,
                      bool spells_bytes) {
  TokenTable table;
  table.kinds = read_kinds(file, tokens, spells_bytes);
  add_pieces(tokens, table);
  return table;
}

std::unique_ptr<Tokenizer> load_spm(const GgufFile& file) {
  const Strings& tokens = read_tokens(file);
  const std::vector<float> scores = read_scores(file, tokens.size());
  TokenTable table = read_table(file, tokens, /*spells_bytes=*/true);
  const auto bos = read_id(file, "bos_token_id", table.kinds, 1);
  if (file.find_bool("tokenizer.ggml.add_bos_token").value_or(true)) {
    table.bos = bos;
  }
  find_eos(file, table);
  table.unknown = read_id(file, "unknown_token_id", table.kinds, 0);
  table.add_space_prefix =
      file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  return std::make_unique<SpmTokenizer>(std::move(table), scores);
}

const GgufRule& read_rule(const GgufFile& file) {
  std::string names;
  const auto pre = file.find_string("tokenizer.ggml.pre");
  for (const GgufRule& rule : gguf_rules()) {
    if (pre && rule.name == *pre) return rule;
    if (!names.empty()) names += ", ";
    names += rule.name;
  }
  fail(file,
       pre ? "pre " + quote(*pre) + " is unsupported; expected one of " + names
           : "pre is missing, expected one of " + names,
       ErrorCode::kUnsupported);
}

MergeTable read_merges(const GgufFile& file, const Vocabulary& vocabulary) {
  const Strings* merges = file.find_strings("tokenizer.ggml.merges");
  if (merges == nullptr) fail(file, "merges is missing");
  MergeTable table;
  table.reserve(merges->size());
  const auto find = [&](std::string_view piece) {
    const int32_t id = vocabulary.find(piece);
    if (id == Vocabulary::kNone) {
      fail(file, "merges: " + quote(piece) + " is not in tokens");
    }
    return id;
  };
  uint32_t rank = 0;
  for (const std::string_view merge : *merges) {
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos) {
      fail(file, "merges: " + quote(merge) + "; expected two pieces");
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    std::string joined(left);
    joined += right;
    table.add(find(left), find(right), {rank++, find(joined)});
  }
  return table;
}

// Bytes that have no piece are dropped, whatever unknown_token_id says: so do
// the reference and the models' own tokenizers.
std::unique_ptr<Tokenizer> load_byte_level(const GgufFile& file) {
  const Strings& tokens = read_tokens(file);
  const GgufRule& rule = read_rule(file);
  TokenTable table = read_table(file, tokens, /*spells_bytes=*/false);
  table.byte_level = rule.rule;
  table.prefer_whole_words = rule.is_llama3;
  const auto bos = read_id(file, "bos_token_id", table.kinds);
  if (file.find_bool("tokenizer.ggml.add_bos_token").value_or(rule.is_llama3)) {
    table.bos = bos;
  }
  find_eos(file, table);
  MergeTable merges = read_merges(file, table.vocabulary);
  return std::make_unique<BpeTokenizer>(std::move(table), std::move(merges),
                                        /*cut_text=*/false);
}

}  // namespace

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const GgufFile& file) {
  const auto model = file.find_string("tokenizer.ggml.model");
  if (!model) fail(file, "model is missing");
  if (*model == "llama") return load_spm(file);
  if (*model == "gpt2") return load_byte_level(file);
  fail(file,
       "model " + quote(*model) + " is unsupported; expected 'llama' or 'gpt2'",
       ErrorCode::kUnsupported);
}

}  // namespace carat
