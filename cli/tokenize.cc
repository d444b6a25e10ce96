// carat tokenize and carat detokenize: text to token ids and back.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "cli/command.h"
#include "cli/default_model.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompt_input.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct TokenizeFlags {
  std::optional<std::string> text;
  std::string file;
  std::string model;
  EncodeOptions encode;
  bool pieces = false;
  bool json = false;
};

// On one line, whatever the vocabulary holds.
std::string one_line(std::string_view piece) {
  std::string line;
  for (const char c : piece) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  return line;
}

int run_tokenize(const TokenizeFlags& flags) {
  if (flags.text && !flags.file.empty()) {
    throw UsageError("give only one of a text and --file");
  }
  const std::string text = flags.file.empty()
                               ? argument_or_stdin(flags.text, "text")
                               : read_file(flags.file);
  const auto tokenizer = load_tokenizer(resolve_model(flags.model));
  const std::vector<int32_t> ids = tokenizer->encode(text, flags.encode);
  if (flags.json) {
    nlohmann::ordered_json value = {{"ids", ids}};
    if (flags.pieces) {
      value["pieces"] = nlohmann::ordered_json::array();
      for (const int32_t id : ids) {
        value["pieces"].push_back(tokenizer->piece(id));
      }
    }
    write_json(value);
  } else if (flags.pieces) {
    std::string lines;
    for (const int32_t id : ids) {
      lines += fmt::format("{}\t{}\n", id, one_line(tokenizer->piece(id)));
    }
    write_stdout(lines);
  } else {
    write_stdout(fmt::format("{}\n", fmt::join(ids, ",")));
  }
  return kExitOk;
}

struct DetokenizeFlags {
  std::vector<std::string> arguments;
  std::optional<std::string> tokens;
  std::string model;
  bool skip_special = false;
  bool json = false;
};

std::vector<int32_t> read_ids(const DetokenizeFlags& flags) {
  if (flags.tokens && !flags.arguments.empty()) {
    throw UsageError("give ids as arguments or with --tokens, not both");
  }
  if (flags.tokens) return parse_token_ids("--tokens", *flags.tokens);
  if (flags.arguments.empty() || flags.arguments.front() == "-") {
    return parse_token_ids("standard input",
                           argument_or_stdin(std::nullopt, "token ids"));
  }
  return parse_token_ids("ids",
                         fmt::format("{}", fmt::join(flags.arguments, " ")));
}

int run_detokenize(const DetokenizeFlags& flags) {
  const std::vector<int32_t> ids = read_ids(flags);
  const auto tokenizer = load_tokenizer(resolve_model(flags.model));
  // Tokenizer::decode would replace bytes that form no character.
  std::string bytes;
  for (const int32_t id : ids) {
    if (flags.skip_special && tokenizer->is_special(id)) continue;
    bytes += tokenizer->bytes(id);
  }
  if (flags.json) {
    write_json({{"text", bytes}});
  } else {
    write_stdout(bytes);
  }
  return kExitOk;
}

}  // namespace

Action add_tokenize(CLI::App& app) {
  const auto flags = std::make_shared<TokenizeFlags>();
  app.add_option("text", flags->text,
                 "The text; - for standard input, which is also read if "
                 "nothing is given and it is no terminal")
      ->option_text("TEXT");
  app.add_option("--file", flags->file, "Read the text from a file")
      ->option_text("PATH");
  add_encode_flags(app, flags->encode);
  app.add_flag("--pieces", flags->pieces,
               "One token per line: the id and how the vocabulary spells it");
  add_model_flag(app, flags->model);
  app.add_flag("--json", flags->json, "Print a JSON object");
  app.footer(
      "Any bytes are accepted. --model may also name a tokenizer.json or\n"
      "tokenizer.model.\n\n"
      "Examples:\n"
      "  carat tokenize \"Hello, world\"\n"
      "  carat tokenize --pieces --no-bos --file story.txt\n"
      "  carat tokenize --json < story.txt");
  return [flags] { return run_tokenize(*flags); };
}

Action add_detokenize(CLI::App& app) {
  const auto flags = std::make_shared<DetokenizeFlags>();
  app.add_option("ids", flags->arguments,
                 "Token ids between commas or spaces; standard input is read "
                 "if none are given")
      ->take_all()
      ->option_text("IDS");
  app.add_option("--tokens", flags->tokens, "The same as a flag")
      ->option_text("IDS");
  app.add_flag("--skip-special", flags->skip_special,
               "Leave out special tokens such as BOS");
  add_model_flag(app, flags->model);
  app.add_flag("--json", flags->json,
               "Print a JSON object; bytes that are not UTF-8 become U+FFFD");
  app.footer(
      "The text's bytes are printed as they are, without a newline.\n\n"
      "Examples:\n"
      "  carat detokenize 2,9259,236764,1902\n"
      "  carat tokenize --no-bos < story.txt | carat detokenize\n"
      "  carat detokenize --skip-special --tokens \"2 9259\"");
  return [flags] { return run_detokenize(*flags); };
}

}  // namespace carat::cli
