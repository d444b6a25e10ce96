// The real Gemma 3 tokenizers and the golden rows to hold them to.
#ifndef CARAT_TESTS_TEXT_GOLDEN_TOKENIZERS_H_
#define CARAT_TESTS_TEXT_GOLDEN_TOKENIZERS_H_

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "carat/tokenizer.h"

namespace carat {

/// tokenizer.json of Gemma 3, unpacked into the build folder by `xz`; nullptr
/// if the golden data or xz is missing. Loaded once.
const Tokenizer* gemma3_from_json();

/// The vocabulary of the real 270M GGUF; nullptr if CARAT_REAL_MODEL is not
/// there. Loaded once.
const Tokenizer* gemma3_from_gguf();

/// The vocabulary of the real SmolLM2 GGUF; nullptr if CARAT_REAL_LLAMA is not
/// there. Loaded once.
const Tokenizer* smollm2_from_gguf();

/// The file of gemma3_from_json(); empty if there is none.
std::filesystem::path gemma3_json_path();

/// The rows of a JSON-lines file of the folder tokenizer-goldens; none if it is
/// not there.
std::vector<nlohmann::json> golden_rows(const std::string& name);

std::string from_hex(const std::string& digits);
std::vector<int32_t> ids_of(const nlohmann::json& list);

}  // namespace carat

/// Skips a test that needs what is not there.
#define CARAT_SKIP_WITHOUT(tokenizer, what)      \
  if ((tokenizer) == nullptr) {                  \
    GTEST_SKIP() << "needs " what                \
                    ", which is not there: see " \
                    "tests/CMakeLists.txt";      \
  }

#endif  // CARAT_TESTS_TEXT_GOLDEN_TOKENIZERS_H_
