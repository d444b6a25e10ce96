// What loaders do alike with the pieces of a vocabulary.
#ifndef CARAT_TEXT_TOKEN_TABLE_H_
#define CARAT_TEXT_TOKEN_TABLE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/piece_tokenizer.h"

namespace carat {

/// SentencePiece's types of pieces, which GGUF took over.
enum PieceType : int64_t {
  kUndefined = 0,  ///< GGUF's alone
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

/// Gives `table`, whose kinds are set, its pieces and the tokens to match.
void add_pieces(const std::vector<std::string_view>& pieces, TokenTable& table);

/// Adds `id` to the tokens that end a generation, unless it is there.
void add_eos(int32_t id, TokenTable& table);
/// Likewise the special tokens with which chat models end their turn.
void add_turn_ends(TokenTable& table);

}  // namespace carat

#endif  // CARAT_TEXT_TOKEN_TABLE_H_
