// Flags that several commands share, and the checks of their values.
#ifndef CARAT_CLI_OPTIONS_H_
#define CARAT_CLI_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "carat/engine.h"
#include "carat/options.h"
#include "cli/progress_bar.h"

namespace carat::cli {

/// A flag's value must be a whole number in [least, most].
CLI::Validator whole_number(int64_t least,
                            int64_t most = std::numeric_limits<int64_t>::max());

/// A flag's value must be a finite number in [least, most], or above `least` if
/// `open`.
CLI::Validator real_number(double least, double most, bool open = false);

/// "2,818,5": whole numbers between commas or white space; brackets around them
/// are allowed. `subject` names the flag in messages.
/// Throws: UsageError.
std::vector<int64_t> parse_numbers(std::string_view subject,
                                   std::string_view text, int64_t least = 0);

/// The same as token ids.
std::vector<int32_t> parse_token_ids(std::string_view subject,
                                     std::string_view text);

/// Which file and how to run it.
struct EngineFlags {
  std::string model;
  std::string backend = "auto";
  std::optional<int> device;
  std::string isa = "auto";
  int threads = 0;
  std::optional<int64_t> context;
  std::string quantize;
};
void add_model_flag(CLI::App& app, std::string& model);
void add_engine_flags(CLI::App& app, EngineFlags& flags);

/// Loads the flags' model, with a progress bar; Ctrl-C cancels it.
/// Throws: as Engine::load.
std::unique_ptr<Engine> load_engine(const EngineFlags& flags);

/// How to run the prompt.
struct PrefillFlags {
  std::string mode = "chunked";
  std::string chunk = "auto";
};
void add_prefill_flags(CLI::App& app, PrefillFlags& flags);

/// The flags as options; `bar`, which must outlive their use, shows progress
/// and Ctrl-C cancels.
PrefillOptions prefill_options(const PrefillFlags& flags, ProgressBar& bar);

}  // namespace carat::cli

#endif  // CARAT_CLI_OPTIONS_H_
