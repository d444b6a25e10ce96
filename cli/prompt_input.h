// Where a command's text comes from: an argument, a file, standard input, or
// ready token ids.
#ifndef CARAT_CLI_PROMPT_INPUT_H_
#define CARAT_CLI_PROMPT_INPUT_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "carat/tokenizer.h"

namespace carat::cli {

struct PromptFlags {
  std::optional<std::string> text;  ///< the argument; "-": standard input
  std::string file;
  std::optional<std::string> tokens;
  EncodeOptions encode;
};

/// The argument `name`, --prompt-file, --tokens, --no-bos and --no-special.
void add_prompt_flags(CLI::App& app, PromptFlags& flags,
                      const std::string& name);
/// --no-bos and --no-special alone.
void add_encode_flags(CLI::App& app, EncodeOptions& options);

/// Text to be encoded, or ids as they are.
struct Prompt {
  std::string text;
  std::optional<std::vector<int32_t>> ids;
  EncodeOptions encode;
};

/// Reads what the flags name, before a model is loaded.
/// Throws: UsageError (nothing or several things named), Error{kNotFound}.
Prompt read_prompt(const PromptFlags& flags);

/// The ids of `prompt`: those given, or its text encoded.
/// Throws: Error{kInvalidArgument} if there are none.
std::vector<int32_t> prompt_ids(const Prompt& prompt,
                                const Tokenizer& tokenizer);

/// The bytes of `argument`, or of standard input if it is "-" or absent and
/// standard input is no terminal. Throws: UsageError.
std::string argument_or_stdin(const std::optional<std::string>& argument,
                              const std::string& what);

/// All bytes of a file. Throws: Error{kNotFound} naming it.
std::string read_file(const std::string& path);

}  // namespace carat::cli

#endif  // CARAT_CLI_PROMPT_INPUT_H_
