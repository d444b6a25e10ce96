// Small vocabularies for tests, and files that hold them.
#ifndef CARAT_TESTS_TEXT_SMALL_TOKENIZERS_H_
#define CARAT_TESTS_TEXT_SMALL_TOKENIZERS_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/gguf_builder.h"
#include "text/tokenizer_loader.h"

namespace carat {

inline const std::string kMark = "\xE2\x96\x81";

struct GgufToken {
  std::string piece;
  float score = 0;
  int32_t type = 1;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte
};

/// <pad> <eos> <bos> <unk>, then the 256 byte tokens (from id 4).
std::vector<GgufToken> base_tokens();

/// The three lists of a vocabulary and the model's name; no ids, no flags.
GgufWriter gguf_vocabulary(const std::vector<GgufToken>& tokens);

std::unique_ptr<Tokenizer> load(const GgufWriter& writer);

/// Gemma's settings.
std::unique_ptr<Tokenizer> gguf_tokenizer(const std::vector<GgufToken>& tokens);

struct MergePair {
  std::string left;
  std::string right;
};

/// A tokenizer.json as Gemma's, with the base tokens and `pieces` after them.
/// Tests change what they like.
nlohmann::json json_document(const std::vector<std::string>& pieces,
                             const std::vector<MergePair>& merges);

std::unique_ptr<Tokenizer> load_text(const std::string& text);

}  // namespace carat

#endif  // CARAT_TESTS_TEXT_SMALL_TOKENIZERS_H_
