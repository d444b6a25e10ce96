#include "convert/vocabulary_arrays.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "carat/error.h"
#include "formats/mapped_file.h"
#include "text/tokenizer_json.h"
#include "text/vocabulary.h"

namespace carat {
namespace {

using Json = nlohmann::json;

// The GGUF specification's token types.
constexpr int32_t kNormal = 1;
constexpr int32_t kUnknown = 2;
constexpr int32_t kControl = 3;
constexpr int32_t kUserDefined = 4;
constexpr int32_t kUnused = 5;
constexpr int32_t kByte = 6;
constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

template <class T>
const std::vector<T>& require(const GgufFile& file, const std::vector<T>* array,
                              const char* key, size_t size) {
  if (array != nullptr && array->size() == size) return *array;
  throw Error(ErrorCode::kCorrupt,
              file.path().string() + ": tokenizer.ggml." + key + " has " +
                  std::to_string(array == nullptr ? 0 : array->size()) +
                  " entries, expected " + std::to_string(size));
}

/// Does the normalizer put a space before the text?
bool adds_space(const Json& normalizer) {
  if (!normalizer.is_object()) return false;
  if (normalizer.value("type", "") == "Prepend") return true;
  const Json parts = normalizer.value("normalizers", Json::array());
  return parts.is_array() && std::ranges::any_of(parts, adds_space);
}

/// A string as JSON, what is not UTF-8 replaced.
std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_added(int32_t type) {
  return type == kUnknown || type == kControl || type == kUserDefined;
}

struct Split {
  float score;
  int32_t left;
  int32_t right;
};

/// Every way to make a piece of two others.
std::vector<Split> find_splits(const VocabularyArrays& vocabulary) {
  std::unordered_map<std::string_view, int32_t> ids;
  const auto count = static_cast<int32_t>(vocabulary.tokens.size());
  const auto merges = [&](int32_t id) {
    const int32_t type = vocabulary.types[static_cast<size_t>(id)];
    return type == kNormal || type == kUserDefined;
  };
  for (int32_t id = 0; id < count; ++id) {
    if (merges(id)) ids.emplace(vocabulary.tokens[static_cast<size_t>(id)], id);
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

}  // namespace

VocabularyArrays read_json_vocabulary(const std::filesystem::path& path,
                                      int64_t rows) {
  const MappedFile file(path);
  const TokenizerJson json = parse_tokenizer_json(path.string(), file.bytes());
  const Json model = json.rest.value("model", Json::object());
  if (model.value("byte_fallback", Json()) != true) {
    throw Error(ErrorCode::kUnsupported,
                path.string() +
                    ": a byte-level vocabulary can't be written to a GGUF "
                    "file; supported: BPE with byte fallback");
  }
  const auto size = static_cast<size_t>(rows);
  VocabularyArrays arrays;
  arrays.tokens.resize(size);
  arrays.scores.assign(size, 0);
  arrays.types.assign(size, kUnused);
  std::unordered_map<std::string_view, size_t> ids;
  for (const auto& entry : json.vocab) {
    const auto id = static_cast<size_t>(entry.id);
    if (id >= size) continue;
    arrays.tokens[id] = json.piece(entry);
    arrays.types[id] = parse_byte_piece(arrays.tokens[id]) ? kByte : kNormal;
    ids.emplace(json.piece(entry), id);
  }
  // What no merge makes is made by none: it comes after all others.
  std::fill(arrays.scores.begin(), arrays.scores.end(),
            -static_cast<float>(json.merges.size() + 1));
  float rank = 0;
  std::vector<bool> scored(size);
  std::string joined;
  for (const auto& merge : json.merges) {
    joined.assign(json.left(merge));
    joined += json.right(merge);
    const auto found = ids.find(joined);
    if (found == ids.end() || scored[found->second]) continue;
    scored[found->second] = true;
    arrays.scores[found->second] = rank;
    rank -= 1;
  }
  for (const Json& entry : json.rest.value("added_tokens", Json::array())) {
    const auto id = entry.at("id").get<size_t>();
    if (id >= size) continue;
    arrays.tokens[id] = entry.at("content").get<std::string>();
    arrays.types[id] = entry.value("special", false) ? kControl : kUserDefined;
    if (arrays.tokens[id] == "<pad>") arrays.padding = id;
  }
  const Json unknown = model.value("unk_token", Json());
  if (unknown.is_string()) {
    const auto found = ids.find(unknown.get_ref<const std::string&>());
    if (found != ids.end()) {
      arrays.unknown = found->second;
      arrays.types[found->second] = kUnknown;
    }
  }
  for (size_t id = 0; id < size; ++id) {
    if (arrays.types[id] == kUnused) {
      arrays.tokens[id] = "[PAD" + std::to_string(id) + "]";
    }
  }
  arrays.add_space_prefix = adds_space(json.rest.value("normalizer", Json()));
  return arrays;
}

VocabularyArrays read_gguf_vocabulary(const GgufFile& file) {
  const auto model = file.find_string("tokenizer.ggml.model");
  if (model != "llama") {
    throw Error(ErrorCode::kUnsupported,
                file.path().string() + ": a vocabulary of model '" +
                    std::string(model.value_or("")) +
                    "' can't be written to a folder; supported: 'llama'");
  }
  VocabularyArrays arrays;
  const auto* tokens = file.find_strings("tokenizer.ggml.tokens");
  const size_t size = tokens == nullptr ? 0 : tokens->size();
  const auto& scores =
      require(file, file.find_floats("tokenizer.ggml.scores"), "scores", size);
  const auto& types = require(file, file.find_ints("tokenizer.ggml.token_type"),
                              "token_type", size);
  arrays.tokens.assign(tokens->begin(), tokens->end());
  for (const double score : scores) {
    arrays.scores.push_back(static_cast<float>(score));
  }
  for (const int64_t type : types) {
    arrays.types.push_back(static_cast<int32_t>(type));
  }
  const auto id = [&](const char* key) -> std::optional<int64_t> {
    const auto value =
        file.find_int(std::string("tokenizer.ggml.") + key + "_token_id");
    if (!value || *value < 0 || *value >= static_cast<int64_t>(size)) {
      return std::nullopt;
    }
    return value;
  };
  arrays.bos = id("bos");
  arrays.unknown = id("unknown");
  arrays.padding = id("padding");
  arrays.add_bos =
      file.find_bool("tokenizer.ggml.add_bos_token").value_or(true);
  arrays.add_space_prefix =
      file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  return arrays;
}

void write_gguf_vocabulary(GgufFileWriter& writer,
                           const VocabularyArrays& vocabulary,
                           std::span<const int32_t> eos) {
  const std::vector<std::string_view> tokens(vocabulary.tokens.begin(),
                                             vocabulary.tokens.end());
  writer.add("tokenizer.ggml.model", "llama");
  writer.add("tokenizer.ggml.pre", "default");
  writer.add_array("tokenizer.ggml.tokens", std::span(tokens));
  writer.add_array("tokenizer.ggml.scores", std::span(vocabulary.scores));
  writer.add_array("tokenizer.ggml.token_type", std::span(vocabulary.types));
  const auto add_id = [&](const char* key, std::optional<int64_t> id) {
    if (!id) return;
    writer.add(std::string("tokenizer.ggml.") + key + "_token_id",
               static_cast<uint32_t>(*id));
  };
  add_id("bos", vocabulary.bos);
  if (!eos.empty()) add_id("eos", eos[0]);
  if (eos.size() > 1) add_id("eot", eos[1]);
  add_id("unknown", vocabulary.unknown);
  add_id("padding", vocabulary.padding);
  writer.add("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  writer.add("tokenizer.ggml.add_eos_token", false);
  writer.add("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
}

std::string vocabulary_json(const VocabularyArrays& vocabulary) {
  const auto token = [&](int64_t id) -> const std::string& {
    return vocabulary.tokens[static_cast<size_t>(id)];
  };
  const auto count = std::ssize(vocabulary.tokens);
  std::string added, vocab, merges;
  std::unordered_map<std::string_view, int64_t> seen;
  for (int64_t id = 0; id < count; ++id) {
    const int32_t type = vocabulary.types[static_cast<size_t>(id)];
    if (is_added(type)) {
      added += added.empty() ? "" : ",\n";
      added += Json({{"id", id},
                     {"content", token(id)},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != kUserDefined}})
                   .dump(-1, ' ', false, Json::error_handler_t::replace);
    }
    if (!seen.emplace(token(id), id).second) continue;
    vocab += vocab.empty() ? "" : ",\n";
    vocab += json_string(token(id)) + ":" + std::to_string(id);
  }
  for (const Split& split : find_splits(vocabulary)) {
    merges += merges.empty() ? "" : ",\n";
    merges += "[" + json_string(token(split.left)) + "," +
              json_string(token(split.right)) + "]";
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
  const Json decoder = {
      {"type", "Sequence"},
      {"decoders",
       {replace(kSpaceMark, " "), Json({{"type", "ByteFallback"}}),
        Json({{"type", "Fuse"}})}}};
  const std::string unknown =
      vocabulary.unknown ? json_string(token(*vocabulary.unknown)) : "null";
  return "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n"
         "\"added_tokens\":[" +
         added + "],\n\"normalizer\":" + normalizer.dump() +
         ",\n\"pre_tokenizer\":null,\n\"post_processor\":" + post.dump() +
         ",\n\"decoder\":" + decoder.dump() +
         ",\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":" +
         unknown +
         ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
         "\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":false,\n"
         "\"vocab\":{" +
         vocab + "},\n\"merges\":[" + merges + "]}}\n";
}

}  // namespace carat
