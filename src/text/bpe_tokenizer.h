// BPE with a list of merges: neighbours merge if the list has the two, the
// earlier entry first. What tokenizer.json calls model type "BPE".
#ifndef CARAT_TEXT_BPE_TOKENIZER_H_
#define CARAT_TEXT_BPE_TOKENIZER_H_

#include <optional>
#include <vector>

#include "text/piece_tokenizer.h"

namespace carat {

/// Pairs of neighbouring tokens -> what they become; a flat hash table.
class MergeTable {
 public:
  void reserve(size_t merges);
  /// Of merges of the same two, the last one counts.
  void add(int32_t left, int32_t right, Merge merge);
  std::optional<Merge> find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    int32_t left = -1;  // -1: free
    int32_t right = -1;
    Merge merge{};
  };

  size_t slot(int32_t left, int32_t right) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, half full
};

class BpeTokenizer final : public PieceTokenizer {
 public:
  /// `cut_text`: as PieceTokenizer's; false where some merge takes a byte token
  /// or the unknown token, and for byte-level vocabularies, whose words are
  /// short anyway.
  BpeTokenizer(TokenTable table, MergeTable merges, bool cut_text);

 private:
  void encode_part(std::string_view text, Encoding& encoding) const override;
  void append_character(std::string_view text, size_t at, size_t length,
                        std::vector<Symbol>& symbols) const;

  MergeTable merges_;
};

}  // namespace carat

#endif  // CARAT_TEXT_BPE_TOKENIZER_H_
