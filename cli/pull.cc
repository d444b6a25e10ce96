// carat pull: bring a model from the hub into the cache.
#include "cli/pull.h"

#include <chrono>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/hub_environment.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  std::string name;
  std::string file;
  int connections = 8;
  bool json = false;
};

nlohmann::ordered_json result_json(const HubName& name,
                                   const PullResult& result, double seconds) {
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const PulledFile& file : result.files) {
    files.push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"blob", file.blob}});
  }
  return {{"model", name.model},
          {"revision", name.revision},
          {"commit", result.commit},
          {"path", result.path.string()},
          {"files", files},
          {"bytes", result.bytes},
          {"received_bytes", result.received_bytes},
          {"seconds", seconds}};
}

int run(const Flags& flags) {
  HubName name;
  try {
    name = parse_hub_name(flags.name);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  if (!flags.file.empty() && !name.file.empty()) {
    throw UsageError("give only one of NAME:FILE and --file");
  }
  if (!flags.file.empty()) name.file = flags.file;
  HubOptions options = hub_options();
  options.connections = flags.connections;
  const auto start = std::chrono::steady_clock::now();
  PullResult result;
  if (hub_is_offline()) {
    const auto path = find_pulled_model(name, options.cache);
    if (!path) {
      throw HubError(HubProblem::kNetwork,
                     fmt::format("{}: not in {}, and HF_HUB_OFFLINE forbids "
                                 "the network",
                                 flags.name, options.cache.string()));
    }
    result.path = *path;
  } else {
    watch_interrupts();
    result = pull_with_progress(name, options);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (flags.json) {
    write_json(result_json(name, result, seconds));
    return kExitOk;
  }
  write_stdout(result.path.string() + "\n");
  if (result.received_bytes > 0) {
    write_note(fmt::format("{} of {} received in {}",
                           human_bytes(result.received_bytes),
                           human_bytes(result.bytes), human_ms(1e3 * seconds)));
  } else {
    write_note("everything was there already");
  }
  return kExitOk;
}

}  // namespace

PullResult pull_with_progress(const HubName& name, const HubOptions& options) {
  ProgressBar bar("Pulling", ProgressBar::Unit::kTransfer);
  PullOptions pull;
  pull.on_progress = [&bar](int64_t done, int64_t total) {
    bar.update(done, total);
    return !interrupted();
  };
  pull.on_note = [&bar](const std::string& line) {
    bar.clear();
    write_note(line);
  };
  return pull_model(name, options, pull);
}

Action add_pull(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("name", flags->name,
                 "The model's name on the hub, and which of its branches, tags "
                 "or commits")
      ->required()
      ->option_text("NAME[@REVISION][:FILE]");
  app.add_option("--file", flags->file,
                 "Of several .gguf files this one: its name, a pattern with * "
                 "and ?, or a part such as Q4_K_M")
      ->option_text("PATTERN");
  app.add_option("--connections", flags->connections,
                 "Connections at once, for parts of a large file")
      ->check(whole_number(1, 64))
      ->option_text("N [8]");
  app.add_flag("--json", flags->json, "Print a JSON object");
  app.footer(
      "Prints where the model is; --model NAME finds it there. The cache is "
      "that of\nHugging Face's tools (HF_HUB_CACHE, HF_HOME); HF_ENDPOINT, "
      "HF_TOKEN and\nHF_HUB_OFFLINE count, too. What was cut off is "
      "resumed.\n\n"
      "Examples:\n"
      "  carat pull google/gemma-3-270m-it\n"
      "  carat pull mlx-community/translategemma-4b-it-4bit@main\n"
      "  carat pull unsloth/gemma-3-1b-it-GGUF:Q4_K_M\n"
      "  carat generate \"Hello\" --model google/gemma-3-270m-it");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
