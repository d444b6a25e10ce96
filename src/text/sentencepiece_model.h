// A SentencePiece tokenizer.model, parsed.
#ifndef CARAT_TEXT_SENTENCEPIECE_MODEL_H_
#define CARAT_TEXT_SENTENCEPIECE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

struct SentencePieceModel {
  std::vector<std::string_view> pieces;  ///< into the bytes that were parsed
  std::vector<float> scores;
  std::vector<int64_t> types;  ///< PieceType
  std::optional<int32_t> unknown, bos, eos, padding;
  bool add_space_prefix = true;
};

/// A BPE model without normalisation; `name` is the file's, for messages.
/// Throws: Error{kCorrupt}, Error{kUnsupported}.
/// Source: SentencePiece 0.2, src/sentencepiece_model.proto.
SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes,
                                             const std::string& name);

}  // namespace carat

#endif  // CARAT_TEXT_SENTENCEPIECE_MODEL_H_
