// What tokenizers share, in either spelling: SentencePiece's, with U+2581 for a
// space and `<0xNN>` for a byte, or byte-level. How pieces are merged is up to
// the derived class.
#ifndef CARAT_TEXT_PIECE_TOKENIZER_H_
#define CARAT_TEXT_PIECE_TOKENIZER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "carat/tokenizer.h"
#include "text/added_tokens.h"
#include "text/adjacent_characters.h"
#include "text/heap_merge.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace carat {

enum class TokenKind : uint8_t {
  kText,     ///< made by merging
  kByte,     ///< `<0xNN>`
  kAdded,    ///< matched on the raw text
  kSpecial,  ///< a control token, or the unknown token
};

/// A vocabulary and its rules, as a loader reads them.
struct TokenTable {
  Vocabulary vocabulary;
  std::vector<TokenKind> kinds;  // by id
  AddedTokens added;
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;
  /// For characters that have neither a piece nor byte tokens, a run of them
  /// giving one token where `fuse_unknown`; without it they are dropped.
  std::optional<int32_t> unknown;
  bool fuse_unknown = true;
  /// A space goes in front of text that begins the input or follows an added
  /// token. It stays when decoding.
  bool add_space_prefix = false;
  /// Pieces spell bytes (text/byte_level.h), and text is first cut into words
  /// by this rule. Without it, they are SentencePiece's.
  std::optional<PreTokenizer> byte_level;
  /// A word that is a piece is that piece, whatever merging would make of it.
  bool prefer_whole_words = false;
};

/// Bytes that are not UTF-8 are encoded too: text is split into characters by
/// the length that first bytes claim, and one that is no piece becomes byte
/// tokens. (A truncated character thus takes the bytes behind it along.)
/// Added tokens match leftmost-longest. Immutable; thread-safe.
class PieceTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text,
                              const EncodeOptions& options) const final;
  std::string decode(std::span<const int32_t> ids,
                     bool skip_special) const final;
  std::string_view piece(int32_t id) const final;
  std::string bytes(int32_t id) const final;
  bool is_byte(int32_t id) const final;
  bool is_special(int32_t id) const final;
  bool splits_characters() const final { return table_.byte_level.has_value(); }
  int32_t vocab_size() const final { return table_.vocabulary.size(); }
  std::optional<int32_t> bos() const final { return table_.bos; }
  std::span<const int32_t> eos() const final { return table_.eos; }

 protected:
  /// The ids found so far, and scratch memory.
  struct Encoding {
    std::vector<int32_t> ids;
    std::vector<Symbol> symbols;
    std::vector<MergeCandidate> heap;
    bool after_unknown = false;

    void emit(int32_t id) {
      ids.push_back(id);
      after_unknown = false;
    }
  };

  /// `cut_text`: no merge joins characters that no piece holds side by side.
  PieceTokenizer(TokenTable table, bool cut_text);

  const TokenTable& table() const { return table_; }
  /// The token of a byte, or Vocabulary::kNone.
  int32_t byte_id(char byte) const {
    return byte_ids_[static_cast<unsigned char>(byte)];
  }

  void emit_unknown(Encoding& encoding) const;

  /// Appends the ids of `text`, not empty, spelled as the pieces are.
  virtual void encode_part(std::string_view text, Encoding& encoding) const = 0;

 private:
  size_t checked(int32_t id) const;
  void append_bytes(int32_t id, std::string& out) const;
  void encode_between_added(std::string_view text, bool space_prefix,
                            std::string& spelled, Encoding& encoding) const;
  void encode_words(std::string_view text, std::string& spelled,
                    Encoding& encoding) const;

  TokenTable table_;
  std::array<int32_t, 256> byte_ids_;
  std::optional<AdjacentCharacters> adjacent_;
};

}  // namespace carat

#endif  // CARAT_TEXT_PIECE_TOKENIZER_H_
