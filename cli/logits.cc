// carat logits: the logits of the last or of all positions of a text.
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/npy_file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/prompt_input.h"
#include "cli/sha256.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  PromptFlags prompt;
  EngineFlags engine;
  PrefillFlags prefill;
  bool all = false;
  int64_t top = 10;
  std::string out;
  bool json = false;
};

// Every position's row to `out`; returns the last one.
std::vector<float> write_all_rows(Session& session,
                                  std::span<const int32_t> ids,
                                  const PrefillOptions& options, NpyFile* out) {
  std::vector<float> last;
  session.all_logits(ids, options,
                     [&](int64_t index, std::span<const float> row) {
                       if (out != nullptr) out->append(row);
                       if (index + 1 == std::ssize(ids)) {
                         last.assign(row.begin(), row.end());
                       }
                     });
  return last;
}

std::vector<int32_t> most_likely(std::span<const float> logits, int64_t count) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto end = ids.begin() + std::min<int64_t>(count, std::ssize(ids));
  std::partial_sort(ids.begin(), end, ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  ids.erase(end, ids.end());
  return ids;
}

int run(const Flags& flags) {
  const Prompt prompt = read_prompt(flags.prompt);
  watch_interrupts();
  const std::unique_ptr<Engine> engine = load_engine(flags.engine);
  const std::vector<int32_t> ids = prompt_ids(prompt, engine->tokenizer());

  ProgressBar bar("Logits", ProgressBar::Unit::kTokens);
  PrefillOptions options = prefill_options(flags.prefill, bar);
  std::vector<int64_t> shape = {engine->config().vocab_size};
  if (flags.all) shape.insert(shape.begin(), std::ssize(ids));
  std::unique_ptr<NpyFile> out;
  if (!flags.out.empty()) out = std::make_unique<NpyFile>(flags.out, shape);

  Session session(*engine);
  std::vector<float> last;
  if (flags.all) {
    if (options.mode == PrefillMode::kFull) options.chunk_tokens = ids.size();
    last = write_all_rows(session, ids, options, out.get());
  } else {
    const std::span<const float> row = session.prefill(ids, options);
    last.assign(row.begin(), row.end());
    if (out) out->append(row);
  }
  bar.clear();
  if (out) out->commit();

  const std::vector<int32_t> top = most_likely(last, flags.top);
  if (flags.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const int32_t id : top) {
      rows.push_back({{"id", id}, {"logit", last[id]}});
    }
    write_json(
        {{"prompt_ids", ids},
         {"shape", shape},
         {"last_logits_sha256", sha256_hex(std::as_bytes(std::span(last)))},
         {"top", rows}});
  } else {
    std::string text;
    for (const int32_t id : top) {
      text += fmt::format("{:>8}  {:>12.6f}  {}\n", id, last[id],
                          engine->tokenizer().piece(id));
    }
    write_stdout(text);
  }
  return kExitOk;
}

}  // namespace

Action add_logits(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  add_prompt_flags(app, flags->prompt, "text");
  app.add_flag("--all", flags->all,
               "Of every position, not the last one alone");
  app.add_option("--out", flags->out,
                 "Write them as .npy, f32: [vocabulary], or [tokens, "
                 "vocabulary] with --all")
      ->option_text("PATH");
  app.add_option("--top", flags->top,
                 "How many of the last position's likeliest tokens to print")
      ->check(whole_number(0))
      ->option_text("N [10]");
  add_prefill_flags(app, flags->prefill);
  add_engine_flags(app, flags->engine);
  app.add_flag("--json", flags->json, "Print a JSON object");
  app.footer(
      "Examples:\n"
      "  carat logits \"The capital of France is\"\n"
      "  carat logits --tokens 2,818,5279 --out last.npy\n"
      "  carat logits --prompt-file story.txt --all --out all.npy --backend "
      "reference");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
