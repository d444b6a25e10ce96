// A tokenizer.json, parsed: its long lists flat, the rest as JSON.
#ifndef CARAT_TEXT_TOKENIZER_JSON_H_
#define CARAT_TEXT_TOKENIZER_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

struct TokenizerJson {
  struct VocabEntry {
    uint32_t begin;
    uint32_t length;
    int32_t id;
  };
  struct MergeEntry {
    uint32_t begin;
    uint32_t left_length;
    uint32_t right_length;
  };

  std::string_view piece(const VocabEntry& entry) const {
    return std::string_view(text).substr(entry.begin, entry.length);
  }
  std::string_view left(const MergeEntry& merge) const {
    return std::string_view(text).substr(merge.begin, merge.left_length);
  }
  std::string_view right(const MergeEntry& merge) const {
    return std::string_view(text).substr(merge.begin + merge.left_length,
                                         merge.right_length);
  }

  /// Everything else. Of `model`, `vocab` and `merges` are left out.
  nlohmann::json rest;
  bool has_vocab = false;
  bool has_merges = false;
  std::vector<VocabEntry> vocab;  // in the file's order, ids >= 0
  std::vector<MergeEntry> merges;
  std::string text;  // of both
};

/// `name` is the file's, for messages. Memory in proportion to `bytes`, nesting
/// bounded. `vocab` must map strings to ids and `merges` list pairs of strings
/// (`["a", "b"]` or `"a b"`); if either is another kind of value altogether it
/// counts as absent.
/// Throws: Error{kCorrupt}, Error{kUnsupported} (over 4 GiB).
/// Source: Hugging Face tokenizers 0.23, models/bpe/serialization.rs.
TokenizerJson parse_tokenizer_json(const std::string& name,
                                   std::span<const std::byte> bytes);

}  // namespace carat

#endif  // CARAT_TEXT_TOKENIZER_JSON_H_
