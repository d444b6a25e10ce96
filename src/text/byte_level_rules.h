// How files name the rule that cuts a byte-level tokenizer's text into words.
#ifndef CARAT_TEXT_BYTE_LEVEL_RULES_H_
#define CARAT_TEXT_BYTE_LEVEL_RULES_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "text/pre_tokenizer.h"

namespace carat {

/// A rule that tokenizer.ggml.pre names.
struct GgufRule {
  std::string_view name;
  PreTokenizer rule;
  bool is_llama3;  ///< starts texts with BOS, and prefers whole words
};

/// All of them; of several names for a rule the first is the one to write.
std::span<const GgufRule> gguf_rules();

/// The rule of a tokenizer.json, `rest` being the file without its lists; none
/// if it is not byte-level. `name` is the file's, for messages.
/// Throws: Error{kUnsupported}.
std::optional<PreTokenizer> find_json_rule(const std::string& name,
                                           const nlohmann::json& rest);

/// What find_json_rule reads as `rule`: a pre_tokenizer.
nlohmann::json json_pre_tokenizer(PreTokenizer rule);

}  // namespace carat

#endif  // CARAT_TEXT_BYTE_LEVEL_RULES_H_
