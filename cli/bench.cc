// carat bench: how fast prefill and decode are, by prompt length, mode and
// chunk size.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/machine_peak.h"
#include "carat/engine.h"
#include "carat/error.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/default_model.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/peak_memory.h"
#include "cli/progress_bar.h"
#include "cli/prompt_input.h"
#include "cli/sweep_plot.h"
#include "cli/synthetic_flags.h"
#include "cli/text_file.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  EngineFlags engine;
  SyntheticFlags synthetic;
  std::string prompt_tokens = "128,577,1600";
  std::string chunks = "64,128,256,512,1024";
  std::string modes = "full,chunked";
  int64_t sweep_tokens = 577;
  int64_t decode_tokens = 32;
  int repeats = 5;
  std::optional<std::string> json;  // empty: standard output
  std::string plot;
  std::string tokens_file;
};

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

// Ordinary-looking text as ids: what they are does not change the work.
std::vector<int32_t> made_up_prompt(const Engine& engine, int64_t tokens) {
  const int64_t vocabulary = engine.config().vocab_size;
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(tokens));
  if (const auto bos = engine.tokenizer().bos()) ids.push_back(*bos);
  uint32_t state = 12345;
  while (std::ssize(ids) < tokens) {
    state = state * 1664525 + 1013904223;
    ids.push_back(static_cast<int32_t>((state >> 8) % vocabulary));
  }
  ids.resize(static_cast<size_t>(tokens));
  return ids;
}

// The first of the file's ids, which must be enough.
std::vector<int32_t> cut_prompt(const std::vector<int32_t>& ids,
                                int64_t tokens) {
  if (std::ssize(ids) < tokens) {
    throw UsageError(
        fmt::format("--tokens-file: {} ids are too few for a prompt of {}",
                    ids.size(), tokens));
  }
  return {ids.begin(), ids.begin() + tokens};
}

struct Plan {
  std::vector<int32_t> ids;  // empty: made up
  std::vector<int64_t> lengths;
  std::vector<int64_t> chunks;
  bool full = false;
  bool chunked = false;
};

// The settings to time for one prompt length; the automatic chunk size counts
// as one of the sweep's.
std::vector<PrefillTiming> plan_timings(const Engine& engine, const Plan& plan,
                                        int64_t tokens, bool sweep) {
  std::vector<PrefillTiming> timings;
  if (plan.full) {
    timings.push_back({.prompt_tokens = tokens,
                       .mode = PrefillMode::kFull,
                       .chunk_tokens = tokens});
  }
  if (!plan.chunked) return timings;
  const int64_t automatic = engine.default_chunk_tokens();
  timings.push_back({.prompt_tokens = tokens,
                     .mode = PrefillMode::kChunked,
                     .chunk_tokens = automatic,
                     .automatic = true});
  if (!sweep) return timings;
  for (const int64_t chunk : plan.chunks) {
    if (chunk == automatic) continue;
    timings.push_back({.prompt_tokens = tokens,
                       .mode = PrefillMode::kChunked,
                       .chunk_tokens = chunk});
  }
  return timings;
}

// Resets `session` and runs the prompt as `timing` says; returns the time.
double run_prefill(Session& session, std::span<const int32_t> prompt,
                   const PrefillTiming& timing) {
  PrefillOptions options;
  options.mode = timing.mode;
  options.chunk_tokens = timing.chunk_tokens;
  options.on_progress = [](int64_t, int64_t) { return !interrupted(); };
  session.reset();
  const Clock::time_point start = Clock::now();
  session.prefill(prompt, options);
  return ms_since(start);
}

double run_decode(Session& session, int64_t tokens) {
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < tokens; ++i) {
    if (interrupted()) throw Error(ErrorCode::kCancelled, "cancelled");
    session.decode(static_cast<int32_t>(i % 8) + 3);
  }
  return ms_since(start);
}

Plan parse_plan(const Flags& flags) {
  Plan plan;
  if (!flags.tokens_file.empty()) {
    plan.ids = parse_token_ids("--tokens-file", read_file(flags.tokens_file));
  }
  plan.lengths = parse_numbers("--prompt-tokens", flags.prompt_tokens, 1);
  plan.chunks = parse_numbers("--chunks", flags.chunks, 1);
  if (plan.lengths.empty()) throw UsageError("--prompt-tokens: no length");
  for (std::vector<int64_t>* list : {&plan.lengths, &plan.chunks}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  for (size_t begin = 0; begin <= flags.modes.size();) {
    const size_t end =
        std::min(flags.modes.find(',', begin), flags.modes.size());
    const std::string mode = flags.modes.substr(begin, end - begin);
    if (mode == "full") {
      plan.full = true;
    } else if (mode == "chunked") {
      plan.chunked = true;
    } else {
      throw UsageError(
          fmt::format("--modes: '{}' is neither full nor chunked", mode));
    }
    begin = end + 1;
  }
  return plan;
}

// Everything to measure for one prompt length.
struct Length {
  std::vector<int32_t> prompt;
  std::vector<PrefillTiming> timings;
  DecodeTiming decode;
};

// Runs every setting once, untimed. The workspace only ever grows, so the
// settings that need least come first and each can be asked what it took.
void run_warm_up(Session& session, std::vector<Length>& lengths,
                 ProgressBar& bar, int64_t runs) {
  struct Setting {
    const std::vector<int32_t>* prompt;
    PrefillTiming* timing;
    int64_t rows() const {
      return std::min(timing->chunk_tokens, timing->prompt_tokens);
    }
  };
  std::vector<Setting> settings;
  for (Length& length : lengths) {
    for (PrefillTiming& timing : length.timings) {
      settings.push_back({&length.prompt, &timing});
    }
  }
  std::ranges::stable_sort(settings, {}, &Setting::rows);
  int64_t done = 0;
  for (const Setting& setting : settings) {
    run_prefill(session, *setting.prompt, *setting.timing);
    setting.timing->transient_bytes = session.transient_bytes();
    bar.update(++done, runs);
  }
}

// A round runs every setting, so that a slow moment of the machine hits all of
// them.
void run_rounds(Session& session, std::vector<Length>& lengths, int rounds) {
  int64_t settings = 0;
  for (const Length& length : lengths) settings += std::ssize(length.timings);
  const int64_t runs = settings * (rounds + 1);
  ProgressBar bar("Bench", ProgressBar::Unit::kSteps);
  run_warm_up(session, lengths, bar, runs);
  int64_t done = settings;
  for (int round = 0; round < rounds; ++round) {
    for (Length& length : lengths) {
      for (PrefillTiming& timing : length.timings) {
        timing.ms.push_back(run_prefill(session, length.prompt, timing));
        bar.update(++done, runs);
      }
      if (length.decode.tokens > 0) {
        length.decode.ms.push_back(run_decode(session, length.decode.tokens));
      }
    }
  }
}

void measure(Engine& engine, const Plan& plan, BenchReport& report,
             int64_t decode_tokens) {
  std::vector<Length> lengths;
  for (const int64_t tokens : plan.lengths) {
    const bool sweep = tokens == report.sweep_prompt_tokens;
    lengths.push_back(
        {.prompt = plan.ids.empty() ? made_up_prompt(engine, tokens)
                                    : cut_prompt(plan.ids, tokens),
         .timings = plan_timings(engine, plan, tokens, sweep),
         .decode = {.prompt_tokens = tokens, .tokens = decode_tokens}});
  }
  const Clock::time_point start = Clock::now();
  Session session(engine);
  run_prefill(session, lengths.front().prompt,
              {.prompt_tokens = plan.lengths.front(),
               .mode = PrefillMode::kChunked,
               .chunk_tokens = engine.default_chunk_tokens()});
  report.cold_prompt_tokens = plan.lengths.front();
  report.cold_ms = report.load_ms + ms_since(start);
  run_rounds(session, lengths, report.repeats);
  for (const Length& length : lengths) {
    report.prefill.insert(report.prefill.end(), length.timings.begin(),
                          length.timings.end());
    if (decode_tokens > 0) report.decode.push_back(length.decode);
  }
}

int run(const Flags& flags) {
  const Plan plan = parse_plan(flags);
  EngineFlags engine_flags = flags.engine;
  watch_interrupts();
  std::optional<TemporaryModel> temporary;
  if (!flags.synthetic.shape.empty()) {
    if (!engine_flags.model.empty()) {
      throw UsageError("give only one of --model and --shape");
    }
    temporary.emplace(flags.synthetic);
    engine_flags.model = temporary->path().string();
  }
  const Clock::time_point start = Clock::now();
  std::unique_ptr<Engine> engine = load_engine(engine_flags);

  BenchReport report;
  report.load_ms = ms_since(start);
  temporary.reset();
  report.config = engine->config();
  report.model = report.config.name.empty()
                     ? std::filesystem::path(resolve_model(engine_flags.model))
                           .filename()
                           .string()
                     : report.config.name;
  report.backend = engine->backend_name();
  report.threads = engine->threads();
  report.weight_bytes = engine->weight_bytes();
  report.repeats = flags.repeats;
  report.sweep_prompt_tokens =
      std::ranges::find(plan.lengths, flags.sweep_tokens) != plan.lengths.end()
          ? flags.sweep_tokens
          : plan.lengths.back();
  measure(*engine, plan, report, flags.decode_tokens);
  // Before the machine's own peaks are measured, which takes memory, too.
  report.peak_memory_bytes = peak_memory_bytes();
  engine.reset();  // frees its memory, and this thread from its processor
  const MachinePeak peak = measure_machine_peak("auto", report.threads);
  report.peak_integer_gmacs = peak.integer_gmacs;
  report.peak_read_gbytes_per_s = peak.read_gbytes_per_s;

  if (!flags.plot.empty()) write_text_file(flags.plot, sweep_svg(report));
  if (flags.json && flags.json->empty()) {
    write_json(bench_json(report));
    return kExitOk;
  }
  if (flags.json)
    write_text_file(*flags.json, bench_json(report).dump(2) + "\n");
  write_stdout(bench_tables(report));
  return kExitOk;
}

}  // namespace

Action add_bench(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("--prompt-tokens", flags->prompt_tokens, "Prompt lengths")
      ->option_text(fmt::format("LIST [{}]", flags->prompt_tokens));
  app.add_option("--chunks", flags->chunks, "Chunk sizes of the sweep")
      ->option_text(fmt::format("LIST [{}]", flags->chunks));
  app.add_option("--sweep-tokens", flags->sweep_tokens,
                 "Prompt length of the sweep; the longest if it is not among "
                 "the lengths")
      ->check(whole_number(1))
      ->option_text("N [577]");
  app.add_option("--modes", flags->modes, "full, chunked or both")
      ->option_text(fmt::format("LIST [{}]", flags->modes));
  app.add_option("--decode-tokens", flags->decode_tokens,
                 "Tokens to decode after each prompt; 0: none")
      ->check(whole_number(0))
      ->option_text("N [32]");
  app.add_option("--tokens-file", flags->tokens_file,
                 "Begin every prompt with these ids, as carat tokenize prints "
                 "them, instead of made-up ones")
      ->option_text("PATH");
  app.add_option("--repeat", flags->repeats,
                 "Runs of each setting; the median counts")
      ->check(whole_number(1, 10000))
      ->option_text("N [5]");
  app.add_option("--json", flags->json,
                 "Write all figures to a file; to standard output, and no "
                 "tables, without one")
      ->expected(0, 1)
      ->option_text("[PATH]");
  app.add_option("--plot", flags->plot, "Draw the sweep as SVG")
      ->option_text("PATH");
  add_synthetic_flags(app, flags->synthetic);
  add_engine_flags(app, flags->engine);
  app.footer(
      "peak: share of the machine's measured integer peak that the linear "
      "layers reach.\nbandwidth: share of its measured read bandwidth, if a "
      "token reads every weight\nonce. transient: workspace and logits.\n\n"
      "Examples:\n"
      "  carat bench\n"
      "  carat bench --shape gemma3-4b --encoding q4_0\n"
      "  carat bench --prompt-tokens 577 --repeat 9 --plot sweep.svg\n"
      "  carat bench --modes chunked --chunks 32,64,128 --json figures.json");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
