// SentencePiece BPE: neighbours merge if together they are a piece, the piece
// with the best score first. What GGUF calls tokenizer model "llama".
#ifndef CARAT_TEXT_SPM_TOKENIZER_H_
#define CARAT_TEXT_SPM_TOKENIZER_H_

#include <vector>

#include "text/piece_tokenizer.h"

namespace carat {

/// Merging never makes a special or a byte token: written in the text, they are
/// characters like any other. (The vocabulary's index must not find them.)
class SpmTokenizer final : public PieceTokenizer {
 public:
  /// `scores` (by id, not NaN): higher merges first.
  SpmTokenizer(TokenTable table, const std::vector<float>& scores);

 private:
  void encode_part(std::string_view text, Encoding& encoding) const override;
  void emit_symbol(std::string_view text, int32_t id, Encoding& encoding) const;

  std::vector<uint32_t> ranks_;  // by id; lower is better
};

}  // namespace carat

#endif  // CARAT_TEXT_SPM_TOKENIZER_H_
