// A vocabulary's arrays -> tokenizer.json.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "carat/error.h"
#include "convert/json_text.h"
#include "convert/vocabulary_arrays.h"
#include "text/byte_level_rules.h"
#include "text/token_table.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

std::string json_string(std::string_view text) { return json_text(Json(text)); }

bool is_added(int32_t type) {
  return type == kUnknown || type == kControl || type == kUserDefined;
}

struct Split {
  float score;
  int32_t left;
  int32_t right;
};

/// What merges may make, as readers of GGUF files take it.
bool is_mergeable(int32_t type) {
  return type == kUndefined || type == kNormal || type == kUserDefined ||
         type == kUnused;
}

/// Every way to make a piece of two others.
/// Throws: Error{kUnsupported} for a piece that is too long to try them all.
std::vector<Split> find_splits(const VocabularyArrays& vocabulary) {
  constexpr size_t kLongest = 1024;
  std::unordered_map<std::string_view, int32_t> ids;
  const auto count = static_cast<int32_t>(vocabulary.tokens.size());
  const auto merges = [&](int32_t id) {
    return is_mergeable(vocabulary.types[static_cast<size_t>(id)]);
  };
  for (int32_t id = 0; id < count; ++id) {
    if (!merges(id)) continue;
    const std::string_view token = vocabulary.tokens[static_cast<size_t>(id)];
    if (token.size() > kLongest) {
      throw Error(ErrorCode::kUnsupported,
                  "token " + std::to_string(id) + " of " +
                      std::to_string(token.size()) +
                      " bytes can't be written to tokenizer.json; supported: " +
                      std::to_string(kLongest));
    }
    ids[token] = id;  // of several spelled alike, encoding gives the last one
  }
  std::vector<Split> splits;
  for (int32_t id = 0; id < count; ++id) {
    const std::string_view token = vocabulary.tokens[static_cast<size_t>(id)];
    if (!merges(id) || ids.at(token) != id) continue;
    for (size_t at = 1; at < token.size(); ++at) {
      if ((static_cast<uint8_t>(token[at]) & 0xc0) == 0x80) continue;
      const auto left = ids.find(token.substr(0, at));
      if (left == ids.end()) continue;
      const auto right = ids.find(token.substr(at));
      if (right == ids.end()) continue;
      splits.push_back({vocabulary.scores[static_cast<size_t>(id)],
                        left->second, right->second});
    }
  }
  std::ranges::stable_sort(splits, [](const Split& a, const Split& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left != b.left) return a.left < b.left;
    return a.right < b.right;
  });
  return splits;
}

struct Rules {
  Json normalizer;
  Json pre_tokenizer;
  Json decoder;
};

Rules rules_of(const VocabularyArrays& vocabulary) {
  if (vocabulary.byte_level) {
    return {Json(),
            json_pre_tokenizer(*vocabulary.byte_level),
            {{"type", "ByteLevel"},
             {"add_prefix_space", true},
             {"trim_offsets", true},
             {"use_regex", true}}};
  }
  const auto replace = [](std::string_view from, std::string_view to) {
    return Json({{"type", "Replace"},
                 {"pattern", {{"String", from}}},
                 {"content", to}});
  };
  Json normalizer = replace(" ", kSpaceMark);
  if (vocabulary.add_space_prefix) {
    normalizer = {
        {"type", "Sequence"},
        {"normalizers",
         {Json({{"type", "Prepend"}, {"prepend", kSpaceMark}}), normalizer}}};
  }
  const Json decoder = {
      {"type", "Sequence"},
      {"decoders",
       {replace(kSpaceMark, " "), Json({{"type", "ByteFallback"}}),
        Json({{"type", "Fuse"}})}}};
  return {normalizer, Json(), decoder};
}

}  // namespace

std::string vocabulary_json(const VocabularyArrays& vocabulary) {
  const auto token = [&](int64_t id) -> const std::string& {
    return vocabulary.tokens[static_cast<size_t>(id)];
  };
  const auto count = std::ssize(vocabulary.tokens);
  std::string added, vocab, merges;
  // A spelling stands there once, with the id that encoding gives.
  std::unordered_map<std::string_view, int64_t> owners;
  for (int64_t id = 0; id < count; ++id) {
    if (is_mergeable(vocabulary.types[static_cast<size_t>(id)])) {
      owners[token(id)] = id;
    } else {
      owners.emplace(token(id), id);
    }
  }
  for (int64_t id = 0; id < count; ++id) {
    const int32_t type = vocabulary.types[static_cast<size_t>(id)];
    if (is_added(type)) {
      added += added.empty() ? "" : ",\n";
      added += json_text(Json({{"id", id},
                               {"content", token(id)},
                               {"single_word", false},
                               {"lstrip", false},
                               {"rstrip", false},
                               {"normalized", false},
                               {"special", type != kUserDefined}}));
    }
    if (owners.at(token(id)) != id) continue;
    vocab += vocab.empty() ? "" : ",\n";
    vocab += json_string(token(id)) + ":" + std::to_string(id);
  }
  const auto add_merge = [&](std::string_view left, std::string_view right) {
    merges += merges.empty() ? "[" : ",\n[";
    merges += json_string(left);
    merges += ',';
    merges += json_string(right);
    merges += ']';
  };
  for (const std::string_view merge : vocabulary.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos) continue;
    add_merge(merge.substr(0, space), merge.substr(space + 1));
  }
  if (!vocabulary.byte_level) {
    for (const Split& split : find_splits(vocabulary)) {
      add_merge(token(split.left), token(split.right));
    }
  }
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  Json single = Json::array({text});
  Json special = Json::object();
  if (vocabulary.bos && vocabulary.add_bos) {
    const std::string& bos = token(*vocabulary.bos);
    single = Json::array(
        {Json({{"SpecialToken", {{"id", bos}, {"type_id", 0}}}}), text});
    special[bos] = {{"id", bos},
                    {"ids", Json::array({*vocabulary.bos})},
                    {"tokens", Json::array({bos})}};
  }
  Json pair = single;
  for (Json part : single) {
    part.begin().value()["type_id"] = 1;
    if (part.contains("Sequence")) part["Sequence"]["id"] = "B";
    pair.push_back(part);
  }
  const Json post = {{"type", "TemplateProcessing"},
                     {"single", single},
                     {"pair", pair},
                     {"special_tokens", special}};
  const Rules rules = rules_of(vocabulary);
  // GGUF's readers drop a byte without a piece; those of tokenizer.json put the
  // unknown token in its place.
  const std::string unknown = vocabulary.unknown && !vocabulary.byte_level
                                  ? json_string(token(*vocabulary.unknown))
                                  : "null";
  return "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n"
         "\"added_tokens\":[" +
         added + "],\n\"normalizer\":" + rules.normalizer.dump() +
         ",\n\"pre_tokenizer\":" + rules.pre_tokenizer.dump() +
         ",\n\"post_processor\":" + json_text(post) +
         ",\n\"decoder\":" + rules.decoder.dump() +
         ",\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":" +
         unknown +
         ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
         "\"fuse_unk\":" +
         Json(!vocabulary.byte_level).dump() +
         ",\"byte_fallback\":" + Json(!vocabulary.byte_level).dump() +
         ",\"ignore_merges\":" +
         Json(vocabulary.byte_level == PreTokenizer::kLlama3).dump() +
         ",\n\"vocab\":{" + vocab + "},\n\"merges\":[" + merges + "]}}\n";
}

}  // namespace carat
