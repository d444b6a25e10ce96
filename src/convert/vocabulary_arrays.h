// A vocabulary between its two forms: GGUF's arrays and tokenizer.json.
#ifndef CARAT_CONVERT_VOCABULARY_ARRAYS_H_
#define CARAT_CONVERT_VOCABULARY_ARRAYS_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "text/pre_tokenizer.h"

namespace carat {

/// By token id; types are GGUF's (1 normal, 2 unknown, 3 control, 4
/// user-defined, 5 unused, 6 byte).
struct VocabularyArrays {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::optional<int64_t> bos, unknown, padding;
  bool add_bos = false;

  /// SentencePiece's kind: neighbours merge into the piece of the highest
  /// score.
  std::vector<float> scores;
  bool add_space_prefix = false;

  /// Byte-level BPE: how text is cut into words, and which two pieces merge,
  /// "left right", the first ones first.
  std::optional<PreTokenizer> byte_level;
  std::vector<std::string> merges;
};

/// From a tokenizer.json for an embedding of `rows`: tokens beyond are cut,
/// missing ones made up as unused. With byte fallback, a piece's score is the
/// higher, the earlier its merges stand in the list.
/// Throws: as parse_tokenizer_json; Error{kUnsupported} for what GGUF can't
/// say.
VocabularyArrays read_json_vocabulary(const std::filesystem::path& path,
                                      int64_t rows);

/// From a tokenizer.model, likewise.
/// Throws: as parse_sentencepiece_model; Error{kNotFound}.
VocabularyArrays read_sentencepiece_vocabulary(
    const std::filesystem::path& path, int64_t rows);

/// From `tokenizer.ggml.*`, which must load as a tokenizer.
/// Throws: as load_gguf_tokenizer.
VocabularyArrays read_gguf_vocabulary(const GgufFile& file);

/// Adds `tokenizer.ggml.*`; of `eos`, GGUF has places for two.
void write_gguf_vocabulary(GgufFileWriter& writer,
                           const VocabularyArrays& vocabulary,
                           std::span<const int32_t> eos);

/// The text of a tokenizer.json. Without byte_level, its merges are every split
/// of every piece into two others, highest score first.
/// Throws: Error{kUnsupported} for a piece of over 1,024 bytes there.
std::string vocabulary_json(const VocabularyArrays& vocabulary);

}  // namespace carat

#endif  // CARAT_CONVERT_VOCABULARY_ARRAYS_H_
