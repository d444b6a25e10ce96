// carat perplexity: how well a model predicts a text, token by token.
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/prompt_input.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  PromptFlags prompt;
  EngineFlags engine;
  PrefillFlags prefill;
  bool json = false;
};

// -log softmax(logits)[target], in double.
double negative_log_likelihood(std::span<const float> logits, int32_t target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest - logits[target];
}

int run(const Flags& flags) {
  const Prompt prompt = read_prompt(flags.prompt);
  watch_interrupts();
  const std::unique_ptr<Engine> engine = load_engine(flags.engine);
  const std::vector<int32_t> ids = prompt_ids(prompt, engine->tokenizer());
  if (ids.size() < 2) {
    throw Error(ErrorCode::kInvalidArgument,
                "the text is a single token: nothing is predicted");
  }

  // The last token has no successor to predict.
  const std::span<const int32_t> inputs(ids.data(), ids.size() - 1);
  ProgressBar bar("Perplexity", ProgressBar::Unit::kTokens);
  PrefillOptions options = prefill_options(flags.prefill, bar);
  if (options.mode == PrefillMode::kFull) options.chunk_tokens = inputs.size();
  std::vector<double> nll;
  nll.reserve(inputs.size());
  double total = 0;
  Session session(*engine);
  session.all_logits(
      inputs, options, [&](int64_t index, std::span<const float> row) {
        nll.push_back(negative_log_likelihood(row, ids[index + 1]));
        total += nll.back();
      });
  bar.clear();

  const double mean = total / static_cast<double>(nll.size());
  if (flags.json) {
    write_json({{"tokens", ids.size()},
                {"predicted_tokens", nll.size()},
                {"nll_total", total},
                {"nll_mean", mean},
                {"perplexity", std::exp(mean)},
                {"backend", engine->backend_name()},
                {"ids", ids},
                {"nll", nll}});
  } else {
    write_stdout(
        fmt::format("tokens      {} ({} predicted)\n"
                    "nll         {:.4f} in all, {:.6f} per token\n"
                    "perplexity  {:.4f}\n",
                    ids.size(), nll.size(), total, mean, std::exp(mean)));
  }
  return kExitOk;
}

}  // namespace

Action add_perplexity(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("file", flags->prompt.file,
                 "The text; without it, standard input")
      ->option_text("PATH");
  app.add_option("--tokens", flags->prompt.tokens,
                 "Token ids instead of a file: 2,818,5279; used as they are")
      ->option_text("IDS");
  add_encode_flags(app, flags->prompt.encode);
  add_prefill_flags(app, flags->prefill);
  add_engine_flags(app, flags->engine);
  app.add_flag("--json", flags->json,
               "Print a JSON object with the nll of every token");
  app.footer(
      "The whole text is one sequence: each token is predicted from all "
      "before it, BOS\nincluded. nll is the negative natural logarithm of its "
      "probability; perplexity\nis exp(mean nll).\n\n"
      "Examples:\n"
      "  carat perplexity story.txt\n"
      "  carat perplexity story.txt --backend reference --json\n"
      "  carat perplexity story.txt --model other.gguf --threads 2");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
