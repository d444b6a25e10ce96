#include "cli/prompt_input.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "carat/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

std::string read_all(std::FILE* file, const std::string& name) {
  std::string bytes;
  char buffer[1 << 16];
  size_t count = 0;
  while ((count = std::fread(buffer, 1, sizeof(buffer), file)) > 0) {
    bytes.append(buffer, count);
  }
  if (std::ferror(file) != 0) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("cannot read {}: {}", name, std::strerror(errno)));
  }
  return bytes;
}

}  // namespace

std::string read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  return read_all(file.get(), path);
}

std::string argument_or_stdin(const std::optional<std::string>& argument,
                              const std::string& what) {
  if (argument && *argument != "-") return *argument;
  if (!argument && isatty(STDIN_FILENO) == 1) {
    throw UsageError(fmt::format(
        "no {} given (as an argument, or - for standard input)", what));
  }
  return read_all(stdin, "standard input");
}

void add_encode_flags(CLI::App& app, EncodeOptions& options) {
  app.add_flag_callback(
      "--no-bos", [&options] { options.add_bos = false; },
      "Do not put the BOS token in front");
  app.add_flag_callback(
      "--no-special", [&options] { options.parse_special = false; },
      "Take special tokens in the text, such as <start_of_turn>, as text");
}

void add_prompt_flags(CLI::App& app, PromptFlags& flags,
                      const std::string& name) {
  app.add_option(name, flags.text,
                 fmt::format("The {}; - for standard input, which is also read "
                             "if nothing is given and it is no terminal",
                             name))
      ->option_text("TEXT");
  app.add_option("--prompt-file", flags.file,
                 "Read it from a file, to the last byte")
      ->option_text("PATH");
  app.add_option("--tokens", flags.tokens,
                 "Token ids instead of text: 2,818,5279; used as they are")
      ->option_text("IDS");
  add_encode_flags(app, flags.encode);
}

Prompt read_prompt(const PromptFlags& flags) {
  const int named = (flags.text ? 1 : 0) + (flags.file.empty() ? 0 : 1) +
                    (flags.tokens ? 1 : 0);
  if (named > 1) {
    throw UsageError("give only one of a text, --prompt-file and --tokens");
  }
  Prompt prompt;
  prompt.encode = flags.encode;
  if (flags.tokens) {
    prompt.ids = parse_token_ids("--tokens", *flags.tokens);
  } else if (!flags.file.empty()) {
    prompt.text = read_file(flags.file);
  } else {
    prompt.text = argument_or_stdin(flags.text, "text");
  }
  return prompt;
}

std::vector<int32_t> prompt_ids(const Prompt& prompt,
                                const Tokenizer& tokenizer) {
  std::vector<int32_t> ids =
      prompt.ids ? *prompt.ids : tokenizer.encode(prompt.text, prompt.encode);
  if (ids.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                prompt.ids ? "the prompt is empty: --tokens names no id"
                           : "the prompt is empty and no BOS token is added");
  }
  if (!prompt.ids && prompt.text.empty()) {
    write_note("carat: the prompt is empty: starting from the BOS token alone");
  }
  return ids;
}

}  // namespace carat::cli
