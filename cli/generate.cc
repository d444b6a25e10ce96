// carat generate: continue a prompt.
#include <unistd.h>

#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/peak_memory.h"
#include "cli/progress_bar.h"
#include "cli/prompt_input.h"
#include "cli/sha256.h"
#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  PromptFlags prompt;
  EngineFlags engine;
  PrefillFlags prefill;
  GenerateOptions options;
  bool json = false;
};

// Sends text to standard output as it comes; a write that fails ends the
// generation, and rethrow() then says why.
class TextStream {
 public:
  TextStream(ProgressBar& bar, bool silent) : bar_(&bar), silent_(silent) {}

  bool push(const std::string& text) {
    bar_->clear();
    if (!silent_) write(text);
    return !error_ && !interrupted();
  }

  void finish() {
    bar_->clear();
    if (!silent_) write("\n");
    if (error_) throw *error_;
  }

 private:
  void write(const std::string& text) {
    if (error_) return;
    try {
      write_stdout(text);
    } catch (const OutputError& error) {
      error_ = error;
    }
  }

  ProgressBar* bar_;
  bool silent_;
  std::optional<OutputError> error_;
};

nlohmann::ordered_json stats_json(const Engine& engine,
                                  const GenerateStats& stats, double load_ms) {
  return {{"backend", engine.backend_name()},
          {"threads", engine.threads()},
          {"load_ms", load_ms},
          {"prompt_tokens", stats.prompt_tokens},
          {"generated_tokens", stats.generated_tokens},
          {"prefill_ms", stats.prefill_ms},
          {"prefill_tokens_per_s", stats.prefill_tokens_per_s()},
          {"time_to_first_token_ms", stats.time_to_first_token_ms},
          {"decode_ms", stats.decode_ms},
          {"decode_tokens_per_s", stats.decode_tokens_per_s()},
          {"chunk_tokens", stats.chunk_tokens},
          {"weight_bytes", engine.weight_bytes()},
          {"kv_bytes", stats.kv_bytes},
          {"transient_bytes", stats.transient_bytes},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

void note_stats(const Engine& engine, const GenerateResult& result,
                double load_ms) {
  const GenerateStats& stats = result.stats;
  write_note(fmt::format(
      "prompt {} in {} ({:.0f} tok/s, chunks of {}), first token after {}",
      counted_tokens(stats.prompt_tokens), human_ms(stats.prefill_ms),
      stats.prefill_tokens_per_s(), stats.chunk_tokens,
      human_ms(stats.time_to_first_token_ms)));
  std::string speed;
  if (stats.generated_tokens > 1) {
    speed = fmt::format(" at {:.1f} tok/s", stats.decode_tokens_per_s());
  }
  write_note(fmt::format(
      "generated {}{}, ended by {}; peak memory {}; loaded in {}; {}, {} "
      "thread{}",
      counted_tokens(stats.generated_tokens), speed,
      finish_reason_name(result.finish_reason),
      human_bytes(peak_memory_bytes()), human_ms(load_ms),
      engine.backend_name(), engine.threads(),
      engine.threads() == 1 ? "" : "s"));
}

int run(const Flags& flags) {
  for (const std::string& stop : flags.options.stop) {
    if (stop.empty()) throw UsageError("--stop: the text must not be empty");
  }
  const Prompt prompt = read_prompt(flags.prompt);
  watch_interrupts();

  const auto start = std::chrono::steady_clock::now();
  const std::unique_ptr<Engine> engine = load_engine(flags.engine);
  const double load_ms = std::chrono::duration<double, std::milli>(
                             std::chrono::steady_clock::now() - start)
                             .count();
  const std::vector<int32_t> ids = prompt_ids(prompt, engine->tokenizer());

  ProgressBar bar("Prompt", ProgressBar::Unit::kTokens);
  TextStream stream(bar, flags.json);
  GenerateOptions options = flags.options;
  options.prefill = prefill_options(flags.prefill, bar);
  options.on_text = [&stream](const std::string& text) {
    return stream.push(text);
  };
  Session session(*engine);
  const GenerateResult result = session.generate(ids, options);
  stream.finish();

  if (flags.json) {
    write_json({{"prompt_ids", ids},
                {"generated_ids", result.tokens},
                {"text", result.text},
                {"finish_reason", finish_reason_name(result.finish_reason)},
                {"first_logits_sha256",
                 sha256_hex(std::as_bytes(std::span(result.first_logits)))},
                {"stats", stats_json(*engine, result.stats, load_ms)}});
  } else {
    note_stats(*engine, result, load_ms);
  }
  return interrupted() ? kExitInterrupted : kExitOk;
}

void add_sampling_flags(CLI::App& app, SamplingOptions& sampling) {
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  app.add_option("--temperature", sampling.temperature,
                 "Randomness; 0: always the most likely token")
      ->check(real_number(0, kNoLimit))
      ->option_text("X [0]");
  app.add_option("--top-k", sampling.top_k,
                 "Draw from the K most likely tokens; 0: all")
      ->check(whole_number(0))
      ->option_text("K [0]");
  app.add_option("--top-p", sampling.top_p,
                 "Draw from the fewest tokens that reach this probability")
      ->check(real_number(0, 1, true))
      ->option_text("P [1]");
  app.add_option("--min-p", sampling.min_p,
                 "Drop tokens less likely than this share of the likeliest")
      ->check(real_number(0, 1))
      ->option_text("P [0]");
  app.add_option("--repeat-penalty", sampling.repeat_penalty,
                 "Make the last 64 tokens less likely; 1: off")
      ->check(real_number(0, kNoLimit, true))
      ->option_text("X [1]");
  app.add_option("--seed", sampling.seed,
                 "The draws depend on it and the position alone")
      ->check(whole_number(0))
      ->option_text("N [0]");
}

}  // namespace

Action add_generate(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  add_prompt_flags(app, flags->prompt, "prompt");
  app.add_option("--max-tokens", flags->options.max_tokens,
                 "Most tokens to generate")
      ->check(whole_number(1))
      ->option_text("N [128]");
  add_sampling_flags(app, flags->options.sampling);
  app.add_option("--stop", flags->options.stop,
                 "End before this text; may be given several times")
      ->take_all()
      ->allow_extra_args(false)
      ->option_text("TEXT");
  app.add_flag("--ignore-eos", flags->options.ignore_eos,
               "Go on past end-of-sequence tokens");
  add_prefill_flags(app, flags->prefill);
  add_engine_flags(app, flags->engine);
  app.add_flag("--json", flags->json,
               "Print one JSON object at the end instead of the text");
  app.footer(
      "The text goes to standard output, with a newline after it; figures go "
      "to\nstandard error. An empty prompt starts from the BOS token where the "
      "model adds\none. Ctrl-C stops after the current chunk or token.\n\n"
      "Examples:\n"
      "  carat generate \"The capital of France is\" --max-tokens 32\n"
      "  carat generate --prompt-file story.txt --temperature 0.8 --top-p 0.95 "
      "--seed 7\n"
      "  echo \"Once upon a time\" | carat generate --stop . --json");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
