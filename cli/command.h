// What a command of the tool is. One file per command, one line each in the
// table of main.cc.
#ifndef CARAT_CLI_COMMAND_H_
#define CARAT_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <stdexcept>

namespace carat::cli {

/// Runs a command whose flags have been parsed; returns the exit code.
using Action = std::function<int()>;

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

/// Flags that do not go together or a value that only the command can judge.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Each adds its command's flags to `app` and returns what runs it.
Action add_bench(CLI::App& app);
Action add_detokenize(CLI::App& app);
Action add_generate(CLI::App& app);
Action add_inspect(CLI::App& app);
Action add_logits(CLI::App& app);
Action add_perplexity(CLI::App& app);
Action add_pull(CLI::App& app);
Action add_quantize(CLI::App& app);
Action add_synthesize(CLI::App& app);
Action add_tokenize(CLI::App& app);

}  // namespace carat::cli

#endif  // CARAT_CLI_COMMAND_H_
