// carat quantize: a model in another encoding, as a GGUF file or MLX folder.
#include "carat/quantize.h"

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/progress_bar.h"
#include "fmt/format.h"
#include "model/quantization_plan.h"

namespace carat::cli {
namespace {

struct Flags {
  std::string from;
  std::string to;
  std::string type;
  bool force = false;
  int threads = 0;
};

int run(const Flags& flags) {
  watch_interrupts();
  ProgressBar bar("Quantising", ProgressBar::Unit::kBytes);
  QuantizeOptions options;
  options.type = flags.type;
  options.replace = flags.force;
  options.threads = flags.threads;
  options.on_progress = [&bar](int64_t done, int64_t total) {
    bar.update(done, total);
    return !interrupted();
  };
  quantize_model(flags.from, flags.to, options);
  return kExitOk;
}

}  // namespace

Action add_quantize(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("in", flags->from,
                 "The model: a GGUF file, a Hugging Face or MLX folder")
      ->required()
      ->option_text("IN");
  app.add_option("out", flags->to,
                 "The GGUF file to write; for mlx4 and mlx8 the folder")
      ->required()
      ->option_text("OUT");
  app.add_option("--type", flags->type,
                 fmt::format("What to write: {}",
                             fmt::join(quantization_names(), ", ")))
      ->required()
      ->check(CLI::IsMember(quantization_names()))
      ->option_text("TYPE");
  app.add_flag("--force", flags->force,
               "Replace OUT if it is there, once the new one is complete");
  app.add_option("--threads", flags->threads,
                 "Threads; 0: all processors this process may use")
      ->check(whole_number(0, 1024))
      ->option_text("N [0]");
  app.footer(
      "q4_k and q5_k are the mixtures that others call Q4_K_M and Q5_K_M. OUT "
      "appears\nwhen it is complete, whatever happens before; config, "
      "tokenizer and chat\ntemplate come along. carat perplexity --reference "
      "tells what was lost.\n\n"
      "Examples:\n"
      "  carat quantize gemma-3-4b-it gemma-3-4b-it-q4_k.gguf --type q4_k\n"
      "  carat quantize model-bf16.gguf model-mlx4 --type mlx4\n"
      "  carat quantize model.gguf model-bf16.gguf --type bf16");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
