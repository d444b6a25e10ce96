// The tokenizer of a Hugging Face tokenizer.json: BPE with byte fallback and
// spaces spelled U+2581, or byte-level BPE. Whatever it does not know how to
// follow, it refuses.
// Source: Hugging Face tokenizers 0.23 (the format has no specification).
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "carat/error.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"
#include "text/bpe_tokenizer.h"
#include "text/byte_level_rules.h"
#include "text/json_member.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_loader.h"
#include "text/utf8.h"

namespace carat {
namespace {

using Json = nlohmann::json;

// Special tokens of these names end a generation.
constexpr std::array<std::string_view, 7> kEosNames = {
    "<eos>",      "<end_of_turn>", "</s>",           "<|im_end|>",
    "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>"};

struct AddedEntry {
  int32_t id;
  std::string_view content;
  bool special;
};

/// Reads one file; the functions are its steps, in order.
class Loader {
 public:
  Loader(std::string name, const TokenizerJson& json,
         std::span<const int32_t> eos)
      : name_(std::move(name)), json_(json), eos_(eos) {}

  std::unique_ptr<Tokenizer> load() {
    table_.byte_level = find_json_rule(name_, json_.rest);
    check_model();
    if (!table_.byte_level) read_rules();
    read_added();
    place_pieces();
    find_special();
    MergeTable merges = read_merges();
    const bool cut_text = !merges_join_bytes_ && !table_.byte_level;
    return std::make_unique<BpeTokenizer>(std::move(table_), std::move(merges),
                                          cut_text);
  }

 private:
  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, name_ + ": " + problem);
  }
  [[noreturn]] void unsupported(const std::string& subject,
                                const std::string& expected) const {
    fail(subject + " is unsupported; expected " + expected,
         ErrorCode::kUnsupported);
  }

  static std::string_view type_of(const Json& rule) {
    const Json& type = member(rule, "type");
    if (!type.is_string()) return {};
    return type.get_ref<const std::string&>();
  }

  void check_model();
  void read_rules();
  bool read_normalizer();
  bool replaces(const Json& rule, std::string_view from,
                std::string_view to) const;
  void read_added();
  void place_pieces();
  void find_special();
  std::optional<int32_t> read_bos() const;
  MergeTable read_merges();

  std::string name_;
  const TokenizerJson& json_;
  std::span<const int32_t> eos_;
  std::vector<AddedEntry> added_;
  TokenTable table_;
  bool merges_join_bytes_ = false;
};

void Loader::check_model() {
  const Json& model = member(json_.rest, "model");
  if (!model.is_object()) fail("model is missing");
  const std::string_view type = type_of(model);
  if (type != "BPE") unsupported("model type " + quote(type), "'BPE'");
  if (!json_.has_vocab) fail("model.vocab is missing");
  if (!json_.has_merges) fail("model.merges is missing");
  if (!table_.byte_level && !is_true(member(model, "byte_fallback"))) {
    unsupported("a model without byte_fallback", "byte_fallback true");
  }
  const Json& dropout = member(model, "dropout");
  if (!dropout.is_null() && dropout != 0.0) {
    unsupported("model.dropout", "null");
  }
  table_.prefer_whole_words = is_true(member(model, "ignore_merges"));
  if (table_.prefer_whole_words && !table_.byte_level) {
    unsupported("model.ignore_merges true", "false");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& affix = member(model, key);
    if (!affix.is_null() && affix != "") {
      unsupported(std::string("model.") + key, "null");
    }
  }
  table_.fuse_unknown = is_true(member(model, "fuse_unk"));
}

bool Loader::replaces(const Json& rule, std::string_view from,
                      std::string_view to) const {
  return type_of(rule) == "Replace" &&
         member(member(rule, "pattern"), "String") == from &&
         member(rule, "content") == to;
}

/// Whether it is one that can be followed.
bool Loader::read_normalizer() {
  const Json& rule = member(json_.rest, "normalizer");
  if (replaces(rule, " ", kSpaceMark)) return true;
  const Json& steps = member(rule, "normalizers");
  table_.add_space_prefix = true;
  return type_of(rule) == "Sequence" && steps.is_array() && steps.size() == 2 &&
         type_of(steps[0]) == "Prepend" &&
         member(steps[0], "prepend") == kSpaceMark &&
         replaces(steps[1], " ", kSpaceMark);
}

void Loader::read_rules() {
  if (!read_normalizer()) {
    unsupported("normalizer",
                "Replace of ' ' by U+2581, or that after Prepend of U+2581");
  }
  // A split on spaces does nothing where the normalizer left none.
  const Json& split = member(json_.rest, "pre_tokenizer");
  if (!split.is_null() &&
      (type_of(split) != "Split" || is_true(member(split, "invert")) ||
       member(member(split, "pattern"), "String") != " ")) {
    unsupported("pre_tokenizer", "null or Split on ' '");
  }
  const Json& decoder = member(json_.rest, "decoder");
  const Json& steps = member(decoder, "decoders");
  if (type_of(decoder) != "Sequence" || !steps.is_array() ||
      steps.size() != 3 || !replaces(steps[0], kSpaceMark, " ") ||
      type_of(steps[1]) != "ByteFallback" || type_of(steps[2]) != "Fuse") {
    unsupported("decoder",
                "Sequence of Replace of U+2581 by ' ', ByteFallback, Fuse");
  }
}

void Loader::read_added() {
  const Json& entries = member(json_.rest, "added_tokens");
  if (entries.is_null()) return;
  if (!entries.is_array()) fail("added_tokens is not a list");
  for (const Json& entry : entries) {
    const Json& content = member(entry, "content");
    const Json& id = member(entry, "id");
    if (!content.is_string()) fail("added_tokens: an entry without content");
    const std::string& text = content.get_ref<const std::string&>();
    const std::string subject = "added token " + quote(text);
    constexpr uint64_t kMaxId = std::numeric_limits<int32_t>::max() - 1;
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxId) {
      fail(subject + ": its id is not an integer from 0 to 2^31 - 2");
    }
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (is_true(member(entry, key))) {
        unsupported(subject + " with " + key, "false");
      }
    }
    if (is_true(member(entry, "normalized")) &&
        (text.find(' ') != text.npos || text.find(kSpaceMark) != text.npos)) {
      unsupported(subject + " with spaces that are normalized",
                  "normalized false");
    }
    added_.push_back(
        {id.get<int32_t>(), text, is_true(member(entry, "special"))});
  }
}

void Loader::place_pieces() {
  constexpr std::string_view kTwice = " is given to more than one piece";
  int32_t highest = -1;
  size_t bytes = 0;
  for (const auto& entry : json_.vocab) {
    highest = std::max(highest, entry.id);
    bytes += entry.length;
  }
  for (const auto& entry : added_) {
    highest = std::max(highest, entry.id);
    bytes += entry.content.size();
  }
  // Some ids may be unused, but not so many that a few bytes of file could
  // make a vocabulary of gigabytes.
  const size_t entries = json_.vocab.size() + added_.size();
  const auto size = static_cast<size_t>(highest) + 1;
  if (entries == 0) fail("model.vocab is empty");
  if (size / 8 > entries + 1024) {
    fail("id " + std::to_string(highest) + " in a vocabulary of " +
         std::to_string(entries) + " pieces");
  }

  std::vector<std::string_view> pieces(size);
  std::vector<bool> in_model(size);
  table_.kinds.assign(size, TokenKind::kText);
  for (const auto& entry : json_.vocab) {
    const auto id = static_cast<size_t>(entry.id);
    if (in_model[id]) fail("id " + std::to_string(id) + std::string(kTwice));
    in_model[id] = true;
    pieces[id] = json_.piece(entry);
    if (!table_.byte_level && parse_byte_piece(pieces[id])) {
      table_.kinds[id] = TokenKind::kByte;
    }
  }
  std::vector<AddedToken> matched;
  for (const auto& entry : added_) {
    const auto id = static_cast<size_t>(entry.id);
    if (!pieces[id].empty() && pieces[id] != entry.content) {
      fail("id " + std::to_string(id) + std::string(kTwice));
    }
    pieces[id] = entry.content;
    table_.kinds[id] = entry.special ? TokenKind::kSpecial : TokenKind::kAdded;
    matched.push_back({entry.content, entry.id, entry.special});
  }
  table_.vocabulary.reserve(size, bytes);
  for (const std::string_view piece : pieces) table_.vocabulary.add(piece);
  if (const auto twice = table_.vocabulary.build_index(in_model)) {
    fail("model.vocab: " + quote(pieces[static_cast<size_t>(*twice)]) +
         " is there twice");
  }
  for (const auto& entry : added_) {
    const int32_t found = table_.vocabulary.find(entry.content);
    if (found != Vocabulary::kNone && found != entry.id) {
      fail("added token " + quote(entry.content) + " has id " +
           std::to_string(entry.id) + ", in model.vocab " +
           std::to_string(found));
    }
  }
  table_.added = AddedTokens(std::move(matched));
}

void Loader::find_special() {
  const Json& unknown = member(member(json_.rest, "model"), "unk_token");
  if (unknown.is_string()) {
    const auto& name = unknown.get_ref<const std::string&>();
    const int32_t id = table_.vocabulary.find(name);
    if (id == Vocabulary::kNone) {
      fail("model.unk_token " + quote(name) + " is not in model.vocab");
    }
    table_.unknown = id;
  }
  for (const int32_t id : eos_) {
    if (id < 0 || static_cast<size_t>(id) >= table_.kinds.size()) {
      fail("eos_token_id " + std::to_string(id) + " in a vocabulary of " +
           std::to_string(table_.kinds.size()));
    }
    table_.eos.push_back(id);
  }
  for (const std::string_view name : kEosNames) {
    if (!eos_.empty()) break;
    for (const auto& entry : added_) {
      if (entry.special && entry.content == name) {
        table_.eos.push_back(entry.id);
      }
    }
  }
  table_.bos = read_bos();
}

/// From the template that the post-processor puts around a text.
std::optional<int32_t> Loader::read_bos() const {
  const Json& whole = member(json_.rest, "post_processor");
  const auto is_byte_level = [&](const Json& step) {
    return table_.byte_level && type_of(step) == "ByteLevel";
  };
  if (whole.is_null() || is_byte_level(whole)) return std::nullopt;
  // ByteLevel only moves the offsets of tokens.
  const Json& steps = member(whole, "processors");
  const bool wraps = type_of(whole) == "Sequence" && steps.is_array() &&
                     steps.size() == 2 && is_byte_level(steps[0]);
  const Json& post = wraps ? steps[1] : whole;
  const Json& parts = member(post, "single");
  const auto is_text = [](const Json& part) {
    return member(part, "Sequence").is_object();
  };
  if (type_of(post) == "TemplateProcessing" && parts.is_array()) {
    if (parts.size() == 1 && is_text(parts[0])) return std::nullopt;
    const Json& first = parts.empty() ? parts : parts[0];
    const Json& name = member(member(first, "SpecialToken"), "id");
    if (parts.size() == 2 && name.is_string() && is_text(parts[1])) {
      const auto& text = name.get_ref<const std::string&>();
      const Json& ids =
          member(member(member(post, "special_tokens"), text.c_str()), "ids");
      if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_unsigned() ||
          ids[0].get<uint64_t>() >= table_.kinds.size()) {
        fail("post_processor: " + quote(text) +
             " has no id in the vocabulary among special_tokens");
      }
      return ids[0].get<int32_t>();
    }
  }
  unsupported("post_processor",
              "TemplateProcessing of at most one token before the text");
}

MergeTable Loader::read_merges() {
  MergeTable merges;
  merges.reserve(json_.merges.size());
  const auto find = [&](std::string_view piece) {
    const int32_t id = table_.vocabulary.find(piece);
    if (id == Vocabulary::kNone) {
      fail("model.merges: " + quote(piece) + " is not in model.vocab");
    }
    return id;
  };
  std::string joined;
  uint32_t rank = 0;
  for (const auto& merge : json_.merges) {
    joined.assign(json_.left(merge));
    joined += json_.right(merge);
    const int32_t left = find(json_.left(merge));
    const int32_t right = find(json_.right(merge));
    merges.add(left, right, {rank++, find(joined)});
    for (const int32_t half : {left, right}) {
      merges_join_bytes_ |=
          half == table_.unknown ||
          table_.kinds[static_cast<size_t>(half)] == TokenKind::kByte;
    }
  }
  return merges;
}

}  // namespace

std::unique_ptr<Tokenizer> load_json_tokenizer(
    const std::filesystem::path& path, std::span<const int32_t> eos) {
  const MappedFile file(path);
  return load_json_tokenizer(file.bytes(), path.string(), eos);
}

std::unique_ptr<Tokenizer> load_json_tokenizer(std::span<const std::byte> bytes,
                                               const std::string& name,
                                               std::span<const int32_t> eos) {
  const TokenizerJson json = parse_tokenizer_json(name, bytes);
  return Loader(name, json, eos).load();
}

}  // namespace carat
