#include "text/byte_level_rules.h"

#include <array>

#include "carat/error.h"
#include "text/json_member.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr std::array<GgufRule, 5> kRules = {{
    {"gpt-2", PreTokenizer::kGpt2, false},
    {"smollm", PreTokenizer::kDigitsApart, false},
    {"llama-bpe", PreTokenizer::kLlama3, true},
    {"llama3", PreTokenizer::kLlama3, true},
    {"llama-v3", PreTokenizer::kLlama3, true},
}};

}  // namespace

std::span<const GgufRule> gguf_rules() { return kRules; }

std::optional<PreTokenizer> find_json_rule(const std::string& name,
                                           const Json& rest) {
  const auto unsupported = [&](const std::string& subject,
                               const std::string& expected) {
    throw Error(
        ErrorCode::kUnsupported,
        name + ": " + subject + " is unsupported; expected " + expected);
  };
  if (member(member(rest, "decoder"), "type") != "ByteLevel") return {};
  if (!member(rest, "normalizer").is_null()) {
    unsupported("normalizer of a byte-level tokenizer", "null");
  }
  const Json& whole = member(rest, "pre_tokenizer");
  const bool is_sequence = member(whole, "type") == "Sequence";
  const Json& steps = member(whole, "pretokenizers");
  if (is_sequence && (!steps.is_array() || steps.size() != 2)) {
    unsupported("pre_tokenizer", "a Sequence of two");
  }
  const Json& last = is_sequence ? steps[1] : whole;
  if (member(last, "type") != "ByteLevel" ||
      is_true(member(last, "add_prefix_space"))) {
    unsupported("pre_tokenizer", "ByteLevel with add_prefix_space false");
  }
  const bool splits = member(last, "use_regex") != false;
  if (!is_sequence && splits) return PreTokenizer::kGpt2;
  if (is_sequence) {
    const Json& first = steps[0];
    if (member(first, "type") == "Digits" &&
        is_true(member(first, "individual_digits")) && splits) {
      return PreTokenizer::kDigitsApart;
    }
    const Json& pattern = member(member(first, "pattern"), "Regex");
    if (member(first, "type") == "Split" &&
        member(first, "behavior") == "Isolated" &&
        !is_true(member(first, "invert")) && !splits) {
      if (pattern == kGpt2Pattern) return PreTokenizer::kGpt2;
      if (pattern == kLlama3Pattern) return PreTokenizer::kLlama3;
    }
  }
  unsupported("pre_tokenizer",
              "that of GPT-2, of SmolLM (single digits) or of Llama 3");
  return {};
}

Json json_pre_tokenizer(PreTokenizer rule) {
  Json bytes = {{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", rule != PreTokenizer::kLlama3}};
  if (rule == PreTokenizer::kGpt2) return bytes;
  Json first = {{"type", "Digits"}, {"individual_digits", true}};
  if (rule == PreTokenizer::kLlama3) {
    first = {{"type", "Split"},
             {"pattern", {{"Regex", kLlama3Pattern}}},
             {"behavior", "Isolated"},
             {"invert", false}};
  }
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({first, bytes})}};
}

}  // namespace carat
