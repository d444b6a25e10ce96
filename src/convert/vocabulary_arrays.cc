#include "convert/vocabulary_arrays.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "carat/error.h"
#include "formats/mapped_file.h"
#include "text/byte_level_rules.h"
#include "text/json_member.h"
#include "text/sentencepiece_model.h"
#include "text/token_table.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_loader.h"
#include "text/vocabulary.h"

namespace carat {
namespace {

using Json = nlohmann::json;

/// Does the normalizer put a space before the text?
bool adds_space(const Json& normalizer) {
  if (member(normalizer, "type") == "Prepend") return true;
  const Json& parts = member(normalizer, "normalizers");
  return parts.is_array() && std::ranges::any_of(parts, adds_space);
}

using Ids = std::unordered_map<std::string_view, size_t>;

std::vector<float> scores_of_merges(const TokenizerJson& json, const Ids& ids,
                                    size_t size) {
  // What no merge makes is made by none: it comes after all others.
  std::vector<float> scores(size, -static_cast<float>(json.merges.size() + 1));
  float rank = 0;
  std::vector<bool> scored(size);
  std::string joined;
  for (const auto& merge : json.merges) {
    joined.assign(json.left(merge));
    joined += json.right(merge);
    const auto found = ids.find(joined);
    if (found == ids.end() || scored[found->second]) continue;
    scored[found->second] = true;
    scores[found->second] = rank;
    rank -= 1;
  }
  return scores;
}

/// Tokens that are not in the file but in the embedding.
void name_missing(VocabularyArrays& arrays) {
  for (size_t id = 0; id < arrays.tokens.size(); ++id) {
    if (!arrays.tokens[id].empty()) continue;
    arrays.types[id] = kUnused;
    arrays.tokens[id] = "[PAD" + std::to_string(id) + "]";
  }
}

const GgufRule& name_rule(PreTokenizer rule) {
  return *std::ranges::find(gguf_rules(), rule, &GgufRule::rule);
}

// In GGUF files the rule's name says it.
void check_whole_words(const std::filesystem::path& path, const Json& model,
                       PreTokenizer rule) {
  const bool wanted = name_rule(rule).is_llama3;
  if (is_true(member(model, "ignore_merges")) == wanted) return;
  throw Error(ErrorCode::kUnsupported,
              path.string() + ": model.ignore_merges is not " +
                  (wanted ? "true" : "false") +
                  " as in a GGUF file with these rules for words");
}

/// Without them, spelling decides what is a byte.
void read_types(const GgufFile& file, VocabularyArrays& arrays) {
  const auto* types = file.find_ints("tokenizer.ggml.token_type");
  if (types != nullptr) {
    arrays.types.assign(types->begin(), types->end());
    return;
  }
  for (const std::string& token : arrays.tokens) {
    const bool is_byte = !arrays.byte_level && parse_byte_piece(token);
    arrays.types.push_back(is_byte ? kByte : kNormal);
  }
}

/// The id that `key` names. Without the key, `fallback` if it is a special
/// token, as the loader has it.
std::optional<int64_t> read_id(const GgufFile& file, const char* key,
                               const VocabularyArrays& arrays,
                               std::optional<size_t> fallback) {
  const auto id =
      file.find_int(std::string("tokenizer.ggml.") + key + "_token_id");
  const auto size = std::ssize(arrays.tokens);
  if (id) return *id >= 0 && *id < size ? id : std::nullopt;
  if (!fallback || *fallback >= arrays.types.size()) return std::nullopt;
  const int32_t type = arrays.types[*fallback];
  if (type != kUnknown && type != kControl) return std::nullopt;
  return static_cast<int64_t>(*fallback);
}

/// The rule and the merges of model "gpt2".
void read_byte_level(const GgufFile& file, VocabularyArrays& arrays) {
  const auto pre = file.find_string("tokenizer.ggml.pre");
  const auto rule =
      std::ranges::find(gguf_rules(), pre.value_or(""), &GgufRule::name);
  const auto* merges = file.find_strings("tokenizer.ggml.merges");
  if (rule == gguf_rules().end() || merges == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                file.path().string() +
                    ": tokenizer.ggml.pre is unsupported, or merges missing");
  }
  arrays.byte_level = rule->rule;
  arrays.merges.assign(merges->begin(), merges->end());
  arrays.add_bos =
      file.find_bool("tokenizer.ggml.add_bos_token").value_or(rule->is_llama3);
}

}  // namespace

VocabularyArrays read_json_vocabulary(const std::filesystem::path& path,
                                      int64_t rows) {
  const MappedFile file(path);
  const TokenizerJson json = parse_tokenizer_json(path.string(), file.bytes());
  const Json& model = member(json.rest, "model");
  const auto byte_level = find_json_rule(path.string(), json.rest);
  if (byte_level) check_whole_words(path, model, *byte_level);
  if (!byte_level && !is_true(member(model, "byte_fallback"))) {
    throw Error(ErrorCode::kUnsupported,
                path.string() +
                    ": this vocabulary can't be written to a GGUF file; "
                    "supported: BPE with byte fallback, or byte-level");
  }
  const auto size = static_cast<size_t>(rows);
  VocabularyArrays arrays;
  arrays.tokens.resize(size);
  arrays.types.assign(size, kUnused);
  arrays.byte_level = byte_level;
  Ids ids;
  for (const auto& entry : json.vocab) {
    const auto id = static_cast<size_t>(entry.id);
    if (id >= size) continue;
    arrays.tokens[id] = json.piece(entry);
    const bool is_byte = !byte_level && parse_byte_piece(arrays.tokens[id]);
    arrays.types[id] = is_byte ? kByte : kNormal;
    ids.emplace(json.piece(entry), id);
  }
  if (byte_level) {
    for (const auto& merge : json.merges) {
      arrays.merges.push_back(std::string(json.left(merge)) + " " +
                              std::string(json.right(merge)));
    }
  } else {
    arrays.scores = scores_of_merges(json, ids, size);
  }
  for (const Json& entry : member(json.rest, "added_tokens")) {
    const auto id = entry.at("id").get<size_t>();
    if (id >= size) continue;
    arrays.tokens[id] = entry.at("content").get<std::string>();
    arrays.types[id] =
        is_true(member(entry, "special")) ? kControl : kUserDefined;
    if (arrays.tokens[id] == "<pad>") arrays.padding = id;
  }
  const Json& unknown = member(model, "unk_token");
  if (unknown.is_string()) {
    const auto found = ids.find(unknown.get_ref<const std::string&>());
    if (found != ids.end()) {
      arrays.unknown = found->second;
      arrays.types[found->second] = kUnknown;
    }
  }
  name_missing(arrays);
  arrays.add_space_prefix = adds_space(member(json.rest, "normalizer"));
  return arrays;
}

VocabularyArrays read_sentencepiece_vocabulary(
    const std::filesystem::path& path, int64_t rows) {
  const MappedFile file(path);
  const SentencePieceModel model =
      parse_sentencepiece_model(file.bytes(), path.string());
  const auto size = static_cast<size_t>(rows);
  const size_t count = std::min(size, model.pieces.size());
  VocabularyArrays arrays;
  arrays.tokens.assign(model.pieces.begin(), model.pieces.begin() + count);
  arrays.scores.assign(model.scores.begin(), model.scores.begin() + count);
  arrays.types.assign(model.types.begin(), model.types.begin() + count);
  arrays.tokens.resize(size);
  arrays.scores.resize(size);
  arrays.types.resize(size);
  name_missing(arrays);
  const auto known = [&](std::optional<int32_t> id) -> std::optional<int64_t> {
    if (!id || *id >= rows) return std::nullopt;
    return *id;
  };
  arrays.unknown = known(model.unknown);
  arrays.padding = known(model.padding);
  arrays.add_space_prefix = model.add_space_prefix;
  return arrays;
}

VocabularyArrays read_gguf_vocabulary(const GgufFile& file) {
  load_gguf_tokenizer(file);  // says what is wrong with the arrays
  const auto model = file.find_string("tokenizer.ggml.model");
  const bool byte_level = model == "gpt2";
  if (model != "llama" && !byte_level) {
    throw Error(ErrorCode::kUnsupported,
                file.path().string() + ": a vocabulary of model '" +
                    std::string(model.value_or("")) +
                    "' can't be written to a folder; supported: 'llama' and "
                    "'gpt2'");
  }
  VocabularyArrays arrays;
  const auto& tokens = *file.find_strings("tokenizer.ggml.tokens");
  arrays.tokens.assign(tokens.begin(), tokens.end());
  if (byte_level) read_byte_level(file, arrays);
  read_types(file, arrays);
  const auto customary = [&](size_t id) {
    return byte_level ? std::nullopt : std::optional(id);
  };
  arrays.bos = read_id(file, "bos", arrays, customary(1));
  arrays.unknown = read_id(file, "unknown", arrays, customary(0));
  arrays.padding = read_id(file, "padding", arrays, std::nullopt);
  if (byte_level) return arrays;
  for (const double score : *file.find_floats("tokenizer.ggml.scores")) {
    constexpr double kMax = std::numeric_limits<float>::max();
    arrays.scores.push_back(static_cast<float>(std::clamp(score, -kMax, kMax)));
  }
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
  const std::vector<std::string_view> merges(vocabulary.merges.begin(),
                                             vocabulary.merges.end());
  if (vocabulary.byte_level) {
    writer.add("tokenizer.ggml.model", "gpt2");
    writer.add("tokenizer.ggml.pre", name_rule(*vocabulary.byte_level).name);
    writer.add_array("tokenizer.ggml.merges", std::span(merges));
  } else {
    writer.add("tokenizer.ggml.model", "llama");
    writer.add("tokenizer.ggml.pre", "default");
    writer.add_array("tokenizer.ggml.scores", std::span(vocabulary.scores));
  }
  writer.add_array("tokenizer.ggml.tokens", std::span(tokens));
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

}  // namespace carat
