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

namespace carat {

/// SentencePiece's kind of vocabulary: neighbours merge into the piece with the
/// highest score. By token id; types are GGUF's (1 normal, 2 unknown, 3
/// control, 4 user-defined, 5 unused, 6 byte).
struct VocabularyArrays {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::optional<int64_t> bos, unknown, padding;
  bool add_bos = false;
  bool add_space_prefix = false;
};

/// From a tokenizer.json with byte fallback, for an embedding of `rows`: tokens
/// beyond are cut, missing ones made up as unused. A piece's score is the
/// earlier, the higher its merges stand in the list.
/// Throws: as parse_tokenizer_json; Error{kUnsupported} for a byte-level
/// vocabulary.
VocabularyArrays read_json_vocabulary(const std::filesystem::path& path,
                                      int64_t rows);

/// From `tokenizer.ggml.*`. Throws: Error{kCorrupt}, Error{kUnsupported} for
/// models other than "llama".
VocabularyArrays read_gguf_vocabulary(const GgufFile& file);

/// Adds `tokenizer.ggml.*`; of `eos`, GGUF has places for two.
void write_gguf_vocabulary(GgufFileWriter& writer,
                           const VocabularyArrays& vocabulary,
                           std::span<const int32_t> eos);

/// The text of a tokenizer.json: BPE whose merges are every split of every
/// piece into two others, highest score first.
std::string vocabulary_json(const VocabularyArrays& vocabulary);

}  // namespace carat

#endif  // CARAT_CONVERT_VOCABULARY_ARRAYS_H_
