// Opens the tokenizer of a model: from a GGUF vocabulary, tokenizer.json or
// tokenizer.model.
#ifndef CARAT_TEXT_TOKENIZER_LOADER_H_
#define CARAT_TEXT_TOKENIZER_LOADER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "carat/tokenizer.h"
#include "formats/gguf.h"

namespace carat {

/// From `tokenizer.ggml.*`. The result copies what it needs: `file` may go.
/// Throws: Error{kCorrupt}, Error{kUnsupported} naming the file and the key.
std::unique_ptr<Tokenizer> load_gguf_tokenizer(const GgufFile& file);

/// From a Hugging Face tokenizer.json (BPE with byte fallback, or byte-level).
/// Where `eos` names ids, these end a generation instead of the tokens whose
/// names say so. Throws: Error{kNotFound}, Error{kCorrupt},
/// Error{kUnsupported}.
std::unique_ptr<Tokenizer> load_json_tokenizer(
    const std::filesystem::path& path, std::span<const int32_t> eos = {});

/// The same from bytes in memory; `name` stands for the path in messages.
std::unique_ptr<Tokenizer> load_json_tokenizer(
    std::span<const std::byte> bytes, const std::string& name,
    std::span<const int32_t> eos = {});

/// From a SentencePiece tokenizer.model (BPE without normalisation, as Gemma's
/// and Llama 2's); the bytes in memory need not outlive the result. `eos` as
/// above. Throws: Error{kNotFound}, Error{kCorrupt}, Error{kUnsupported}.
std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(
    const std::filesystem::path& path, std::span<const int32_t> eos = {});
std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(
    std::span<const std::byte> bytes, const std::string& name,
    std::span<const int32_t> eos = {});

/// What stands in where a model, called `name` in messages, has no tokenizer:
/// ids without any text. encode() throws Error{kNotFound}.
std::unique_ptr<Tokenizer> make_absent_tokenizer(const std::string& name,
                                                 std::span<const int32_t> eos,
                                                 int64_t vocab_size);

/// That of a model folder: its tokenizer.json, or else its tokenizer.model. A
/// folder with neither gives a
/// tokenizer of `vocab_size` ids without any text: encode() throws
/// Error{kNotFound}, ids decode to nothing. `eos` as above.
/// Throws: as load_json_tokenizer.
std::unique_ptr<Tokenizer> load_folder_tokenizer(
    const std::filesystem::path& folder, std::span<const int32_t> eos,
    int64_t vocab_size);

}  // namespace carat

#endif  // CARAT_TEXT_TOKENIZER_LOADER_H_
