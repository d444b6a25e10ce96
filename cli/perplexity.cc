// carat perplexity: how well a model predicts a text, token by token.
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "carat/engine.h"
#include "carat/error.h"
#include "cli/command.h"
#include "cli/distribution_compare.h"
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
  std::string reference;
  bool json = false;
};

double perplexity(double total, size_t count) {
  return std::exp(total / static_cast<double>(count));
}

void check_same_vocabulary(const Engine& engine, const Engine& reference) {
  const Tokenizer& ours = engine.tokenizer();
  const Tokenizer& theirs = reference.tokenizer();
  const int64_t size = engine.config().vocab_size;
  bool same = size == reference.config().vocab_size;
  const int32_t ids = std::min(ours.vocab_size(), theirs.vocab_size());
  for (int32_t id = 0; same && id < ids; ++id) {
    // A model without a tokenizer has empty pieces.
    same = ours.piece(id) == theirs.piece(id) || ours.piece(id).empty() ||
           theirs.piece(id).empty();
  }
  if (same) return;
  throw Error(ErrorCode::kInvalidArgument,
              "--reference: the two models have different vocabularies");
}

// Both models walk over the text together, some tokens at a time, so that no
// more than these tokens' logits are held.
std::vector<PositionCompare> compare(Engine& engine, Engine& reference,
                                     std::span<const int32_t> ids,
                                     const Flags& flags) {
  constexpr int64_t kStep = 32;
  const auto size = static_cast<size_t>(engine.config().vocab_size);
  const auto count = std::ssize(ids) - 1;
  ProgressBar bar("Comparing", ProgressBar::Unit::kTokens);
  PrefillOptions options = prefill_options(flags.prefill, bar);
  options.on_progress = {};
  Session session(engine), reference_session(reference);
  std::vector<float> kept(size * static_cast<size_t>(std::min(kStep, count)));
  std::vector<float> rows(kept.size());
  std::vector<PositionCompare> positions(static_cast<size_t>(count));
  ThreadPool pool(flags.engine.threads);
  for (int64_t first = 0; first < count; first += kStep) {
    const auto step = static_cast<size_t>(std::min(kStep, count - first));
    const auto part = ids.subspan(static_cast<size_t>(first), step);
    const auto keep = [&](Session& which, std::vector<float>& to) {
      which.all_logits(
          part, options, [&](int64_t index, std::span<const float> row) {
            std::ranges::copy(row, to.begin() + index * std::ssize(row));
          });
    };
    keep(reference_session, kept);
    keep(session, rows);
    pool.for_range(static_cast<int64_t>(step), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const size_t at = static_cast<size_t>(row) * size;
        positions[static_cast<size_t>(first + row)] =
            compare_position(std::span(kept).subspan(at, size),
                             std::span(rows).subspan(at, size),
                             ids[static_cast<size_t>(first + row + 1)]);
      }
    });
    bar.update(first + std::ssize(part), count);
    if (interrupted()) throw Error(ErrorCode::kCancelled, "cancelled");
  }
  return positions;
}

int run_compare(const Flags& flags, Engine& engine,
                std::span<const int32_t> ids) {
  EngineFlags other = flags.engine;
  other.model = flags.reference;
  other.quantize.clear();
  const std::unique_ptr<Engine> reference = load_engine(other);
  check_same_vocabulary(engine, *reference);
  const std::vector<PositionCompare> positions =
      compare(engine, *reference, ids, flags);
  double total = 0, reference_total = 0;
  for (const PositionCompare& position : positions) {
    total += position.nll;
    reference_total += position.reference_nll;
  }
  const CompareSummary summary = summarize(positions);
  const double ours = perplexity(total, positions.size());
  const double theirs = perplexity(reference_total, positions.size());
  if (flags.json) {
    nlohmann::ordered_json kl = nlohmann::ordered_json::array();
    for (const PositionCompare& position : positions) kl.push_back(position.kl);
    write_json({{"tokens", ids.size()},
                {"predicted_tokens", positions.size()},
                {"nll_mean", total / static_cast<double>(positions.size())},
                {"perplexity", ours},
                {"reference_perplexity", theirs},
                {"kl_mean", summary.kl_mean},
                {"kl_median", summary.kl_median},
                {"kl_p99", summary.kl_p99},
                {"kl_max", summary.kl_max},
                {"same_top", summary.same_top},
                {"backend", engine.backend_name()},
                {"kl", kl}});
    return kExitOk;
  }
  write_stdout(fmt::format(
      "tokens         {} ({} predicted)\n"
      "perplexity     {:.4f}, of the reference {:.4f} ({:+.2f}%)\n"
      "KL divergence  {:.6f} mean, {:.6f} median, {:.6f} 99%, {:.6f} largest\n"
      "same top token {:.2f}%\n",
      ids.size(), positions.size(), ours, theirs, 100 * (ours / theirs - 1),
      summary.kl_mean, summary.kl_median, summary.kl_p99, summary.kl_max,
      100 * summary.same_top));
  return kExitOk;
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

  if (!flags.reference.empty()) return run_compare(flags, *engine, ids);

  // The last token has no successor to predict.
  const std::span<const int32_t> inputs(ids.data(), ids.size() - 1);
  ProgressBar bar("Perplexity", ProgressBar::Unit::kTokens);
  PrefillOptions options = prefill_options(flags.prefill, bar);
  if (options.mode == PrefillMode::kFull) options.chunk_tokens = inputs.size();
  std::vector<double> nll;
  nll.reserve(inputs.size());
  double total = 0;
  Session session(*engine);
  session.all_logits(inputs, options,
                     [&](int64_t index, std::span<const float> row) {
                       nll.push_back(log_sum_exp(row) -
                                     row[static_cast<size_t>(ids[index + 1])]);
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
  app.add_option("--reference", flags->reference,
                 "Compare with this model, such as the one before quantising: "
                 "KL divergence from its predictions, and how often the most "
                 "likely token is the same")
      ->option_text("PATH");
  app.add_flag("--json", flags->json,
               "Print a JSON object with the nll of every token");
  app.footer(
      "The whole text is one sequence: each token is predicted from all "
      "before it, BOS\nincluded. nll is the negative natural logarithm of its "
      "probability; perplexity\nis exp(mean nll).\n\n"
      "Examples:\n"
      "  carat perplexity story.txt\n"
      "  carat perplexity story.txt --backend reference --json\n"
      "  carat perplexity story.txt --model other.gguf --threads 2\n"
      "  carat perplexity story.txt --model q4_k.gguf --reference bf16.gguf");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
