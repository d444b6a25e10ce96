// carat: the command-line tool. Picks the command from the table, parses its
// flags, runs it and turns what it throws into one line and an exit code.
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "carat/error.h"
#include "cli/command.h"
#include "cli/help_format.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Command {
  std::string_view name;
  std::string_view summary;
  Action (*add)(CLI::App& app);
};

constexpr std::array kCommands = {
    Command{"generate", "Continue a prompt, streaming the text", add_generate},
    Command{"tokenize", "Turn text into token ids", add_tokenize},
    Command{"detokenize", "Turn token ids into text", add_detokenize},
    Command{"inspect", "Describe a model file and the memory it needs",
            add_inspect},
    Command{"logits", "Compute the logits of a text, as a .npy file",
            add_logits},
    Command{"perplexity", "Measure how well a model predicts a text",
            add_perplexity},
    Command{"pull", "Bring a model from the hub into the cache", add_pull},
    Command{"quantize", "Write a model in another encoding", add_quantize},
    Command{"bench", "Measure prefill and decode speed", add_bench},
    Command{"synthesize", "Write a model with random weights, for bench",
            add_synthesize},
};

std::string help() {
  std::string text =
      "carat runs Gemma 3 models.\n\n"
      "Usage: carat COMMAND [FLAGS]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  }
  return text +
         "\n"
         "carat COMMAND --help tells its flags; carat --version its "
         "version.\n\n"
         "Examples:\n"
         "  carat generate \"The capital of France is\" --max-tokens 32\n"
         "  carat inspect model.gguf --context 8192\n"
         "  carat tokenize --pieces \"Hello, world\"\n";
}

const Command* find(std::string_view name) {
  for (const Command& command : kCommands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

int usage_error(std::string_view program, std::string_view message) {
  fmt::print(stderr, "{0}: {1}; see {0} --help\n", program, message);
  return kExitUsage;
}

int run_command(const Command& command, int argc, const char* const* argv) {
  const std::string program = fmt::format("carat {}", command.name);
  CLI::App app{std::string(command.summary), program};
  app.formatter(std::make_shared<HelpFormat>());
  // Of a flag given twice, the last one counts.
  app.option_defaults()->take_last();
  const Action action = command.add(app);
  try {
    app.parse(argc, argv);
    return action();
  } catch (const CLI::CallForHelp&) {
    write_stdout(app.help());
    return kExitOk;
  } catch (const CLI::ExtrasError&) {
    const std::string argument = app.remaining().front();
    return usage_error(
        program, fmt::format("{} '{}'",
                             argument.starts_with('-') ? "unknown flag"
                                                       : "unexpected argument",
                             argument));
  } catch (const CLI::ParseError& error) {
    return usage_error(program, error.what());
  } catch (const UsageError& error) {
    return usage_error(program, error.what());
  }
}

int run(int argc, const char* const* argv) {
  const std::string_view name = argc > 1 ? argv[1] : "--help";
  if (name == "--version") {
    write_stdout("carat " CARAT_VERSION "\n");
    return kExitOk;
  }
  if (name == "--help" || name == "-h" || (name == "help" && argc < 3)) {
    write_stdout(help());
    return kExitOk;
  }
  if (name == "help") {
    const std::array<const char*, 3> arguments = {argv[2], "--help", nullptr};
    const Command* command = find(argv[2]);
    if (command != nullptr) return run_command(*command, 2, arguments.data());
    return usage_error("carat", fmt::format("unknown command '{}'", argv[2]));
  }
  const Command* command = find(name);
  if (command != nullptr) return run_command(*command, argc - 1, argv + 1);
  return usage_error(
      "carat", fmt::format("unknown {} '{}'",
                           name.starts_with('-') ? "flag" : "command", name));
}

}  // namespace
}  // namespace carat::cli

int main(int argc, char** argv) {
  using namespace carat::cli;
  // A closed pipe is then an error of the write, reported like any other.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const carat::Error& error) {
    if (error.code() == carat::ErrorCode::kCancelled && interrupted()) {
      std::fputs("carat: interrupted\n", stderr);
      return kExitInterrupted;
    }
    fmt::print(stderr, "carat: {}\n", error.what());
  } catch (const std::bad_alloc&) {
    std::fputs("carat: out of memory\n", stderr);
  } catch (const std::exception& error) {
    fmt::print(stderr, "carat: {}\n", error.what());
  }
  return kExitError;
}
