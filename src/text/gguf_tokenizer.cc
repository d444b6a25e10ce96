// The tokenizer of a GGUF file: `tokenizer.ggml.*`, model "llama".
// Source: the GGUF specification (ggml, docs/gguf.md); token types as in
// SentencePiece's ModelProto.SentencePiece.Type.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "carat/error.h"
#include "formats/quote.h"
#include "text/spm_tokenizer.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

using Strings = std::vector<std::string_view>;

enum GgufTokenType : int64_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Converters leave these user-defined in some files. The reference takes them
// for control tokens: text may not write them unless special tokens are parsed.
constexpr std::array<std::string_view, 2> kControlByName = {"<end_of_turn>",
                                                            "</s>"};

[[noreturn]] void fail(const GgufFile& file, const std::string& problem,
                       ErrorCode code = ErrorCode::kCorrupt) {
  throw Error(code, file.path().string() + ": tokenizer.ggml." + problem);
}

const Strings& read_tokens(const GgufFile& file) {
  const auto model = file.find_string("tokenizer.ggml.model");
  if (!model) fail(file, "model is missing");
  if (*model != "llama") {
    fail(file, "model " + quote(*model) + " is unsupported; expected 'llama'",
         ErrorCode::kUnsupported);
  }
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
std::vector<TokenKind> read_kinds(const GgufFile& file, const Strings& tokens) {
  const std::vector<int64_t>* types =
      file.find_ints("tokenizer.ggml.token_type");
  if (types != nullptr && types->size() != tokens.size()) {
    fail(file, length_problem("token_type", types->size(), tokens.size()));
  }
  std::vector<TokenKind> kinds(tokens.size(), TokenKind::kText);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool spelled_as_byte = parse_byte_piece(tokens[i]).has_value();
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
          fail(file, "tokens: " + quote(tokens[i]) + " (" + std::to_string(i) +
                         ") is of the byte type; expected '<0xNN>'");
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

AddedTokens find_added(const Strings& tokens,
                       const std::vector<TokenKind>& kinds) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (kinds[i] != TokenKind::kAdded && kinds[i] != TokenKind::kSpecial) {
      continue;
    }
    const bool by_name = std::find(kControlByName.begin(), kControlByName.end(),
                                   tokens[i]) != kControlByName.end();
    added.push_back({tokens[i], static_cast<int32_t>(i),
                     kinds[i] == TokenKind::kSpecial || by_name});
  }
  return AddedTokens(std::move(added));
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

std::vector<int32_t> find_eos(const GgufFile& file, const TokenTable& table) {
  std::vector<int32_t> eos;
  const auto add = [&](std::optional<int32_t> id) {
    if (id && std::find(eos.begin(), eos.end(), *id) == eos.end()) {
      eos.push_back(*id);
    }
  };
  add(read_id(file, "eos_token_id", table.kinds, 2));
  add(read_id(file, "eot_token_id", table.kinds));
  // Chat models end their turn with it, whether or not the file says so.
  constexpr std::string_view kEndOfTurn = "<end_of_turn>";
  const auto match = table.added.match(kEndOfTurn, 0, /*parse_special=*/true);
  if (match && match->length == kEndOfTurn.size() &&
      table.kinds[static_cast<size_t>(match->id)] == TokenKind::kSpecial) {
    add(match->id);
  }
  return eos;
}

}  // namespace

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const GgufFile& file) {
  const Strings& tokens = read_tokens(file);
  const std::vector<float> scores = read_scores(file, tokens.size());
  TokenTable table;
  table.kinds = read_kinds(file, tokens);
  size_t bytes = 0;
  for (const std::string_view token : tokens) bytes += token.size();
  table.vocabulary.reserve(tokens.size(), bytes);
  for (const std::string_view token : tokens) table.vocabulary.add(token);
  std::vector<bool> mergeable(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    mergeable[i] = table.kinds[i] == TokenKind::kText ||
                   table.kinds[i] == TokenKind::kAdded;
  }
  table.vocabulary.build_index(mergeable);
  table.added = find_added(tokens, table.kinds);
  const auto bos = read_id(file, "bos_token_id", table.kinds, 1);
  if (file.find_bool("tokenizer.ggml.add_bos_token").value_or(true)) {
    table.bos = bos;
  }
  table.eos = find_eos(file, table);
  table.unknown = read_id(file, "unknown_token_id", table.kinds, 0);
  table.add_space_prefix =
      file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  return std::make_unique<SpmTokenizer>(std::move(table), scores);
}

}  // namespace carat
