// carat synthesize: a model with random weights, as a file that other engines
// read as well.
#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/synthetic_flags.h"
#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  SyntheticFlags model;
  std::string path;
};

int run(const Flags& flags) {
  watch_interrupts();
  write_synthetic(flags.model, flags.path);
  int64_t bytes = 0;
  if (std::filesystem::is_directory(flags.path)) {
    for (const auto& file : std::filesystem::directory_iterator(flags.path)) {
      bytes += static_cast<int64_t>(file.file_size());
    }
  } else {
    bytes = static_cast<int64_t>(std::filesystem::file_size(flags.path));
  }
  write_note(fmt::format("{}: {}", flags.path, human_bytes(bytes)));
  return kExitOk;
}

}  // namespace

Action add_synthesize(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("path", flags->path,
                 "The GGUF file to write, replaced if there; for mlx4 "
                 "and mlx8 the folder, which must be new or empty")
      ->required()
      ->option_text("OUT");
  add_synthetic_flags(app, flags->model);
  app.get_option("--shape")->required();
  app.add_option("--vocabulary-from", flags->model.vocabulary_from,
                 "Copy the vocabulary of this GGUF file; without it, one is "
                 "made up. Of a folder: of this tokenizer.json or folder; "
                 "without it, the folder has none and runs on ids")
      ->option_text("PATH");
  app.add_option("--seed", flags->model.seed, "Same seed, same file")
      ->check(whole_number(0))
      ->option_text("N [1]");
  app.footer(
      "The weights are good for measuring speed, not for text. Where rows are "
      "not\nwhole blocks of an encoding, a tensor takes the next larger one of "
      "smaller\nblocks.\n\n"
      "Examples:\n"
      "  carat synthesize --shape gemma3-4b 4b-q4_0.gguf\n"
      "  carat synthesize --shape gemma3-1b --encoding q4_k --seed 7 1b.gguf\n"
      "  carat synthesize --shape translategemma-4b --encoding mlx4 tg-4b");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
