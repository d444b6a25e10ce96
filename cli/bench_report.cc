#include "cli/bench_report.h"

#include <algorithm>

#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

std::string percent(double share) {
  return share > 0 ? fmt::format("{:.0f}%", 100 * share) : "-";
}

const PrefillTiming* automatic_timing(const BenchReport& report,
                                      int64_t prompt_tokens) {
  for (const PrefillTiming& timing : report.prefill) {
    if (timing.prompt_tokens == prompt_tokens && timing.automatic) {
      return &timing;
    }
  }
  return nullptr;
}

std::string machine_lines(const BenchReport& report) {
  return fmt::format(
      "{}\n"
      "  backend {}, {} thread{}, weights {}, loaded in {}, peak memory {}\n"
      "  cold start: {} from opening the file to the logits after {} tokens\n"
      "  machine peak {:.0f} GMAC/s (8-bit integers), reads {:.1f} GB/s\n"
      "  medians of {} runs, settings interleaved\n",
      report.model, report.backend, report.threads,
      report.threads == 1 ? "" : "s", human_bytes(report.weight_bytes),
      human_ms(report.load_ms), human_bytes(report.peak_memory_bytes),
      human_ms(report.cold_ms), report.cold_prompt_tokens,
      report.peak_integer_gmacs, report.peak_read_gbytes_per_s, report.repeats);
}

std::string prefill_row(const BenchReport& report, const PrefillTiming& timing,
                        std::string_view setting, double ratio) {
  return fmt::format(
      "  {:>6}  {:<24}{:>8.0f}  {:>9.1f}  {:>5}  {:>5}  {:>10}\n",
      timing.prompt_tokens, setting, timing.tokens_per_s(), timing.median_ms(),
      ratio > 0 ? fmt::format("{:.2f}x", ratio) : "",
      percent(integer_share(report, timing)),
      human_bytes(timing.transient_bytes));
}

std::string before_after_table(const BenchReport& report) {
  std::string rows;
  int64_t last_tokens = 0;
  for (const PrefillTiming& timing : report.prefill) {
    if (timing.prompt_tokens == last_tokens) continue;
    last_tokens = timing.prompt_tokens;
    const PrefillTiming* before = full_timing(report, last_tokens);
    const PrefillTiming* after = automatic_timing(report, last_tokens);
    if (before != nullptr) {
      rows += prefill_row(report, *before, "full logits, unchunked", 0);
    }
    if (after != nullptr) {
      const double ratio =
          before != nullptr ? before->median_ms() / after->median_ms() : 0;
      rows += prefill_row(
          report, *after,
          fmt::format("chunked, {} at a time", after->chunk_tokens), ratio);
    }
  }
  if (rows.empty()) return {};
  return fmt::format(
             "\nPrefill, before and after\n"
             "  {:>6}  {:<24}{:>8}  {:>9}  {:>5}  {:>5}  {:>10}\n",
             "tokens", "mode", "tok/s", "ms", "ratio", "peak", "transient") +
         rows;
}

std::string sweep_table(const BenchReport& report) {
  const std::vector<PrefillTiming> sweep = chunk_sweep(report);
  if (sweep.size() < 2) return {};
  std::string text = fmt::format(
      "\nChunk sweep, prompt of {} tokens\n"
      "  {:>6}  {:>8}  {:>9}  {:>5}  {:>10}\n",
      report.sweep_prompt_tokens, "chunk", "tok/s", "ms", "peak", "transient");
  for (const PrefillTiming& timing : sweep) {
    text +=
        fmt::format("  {:>6}  {:>8.0f}  {:>9.1f}  {:>5}  {:>10}{}\n",
                    timing.chunk_tokens, timing.tokens_per_s(),
                    timing.median_ms(), percent(integer_share(report, timing)),
                    human_bytes(timing.transient_bytes),
                    timing.automatic ? "  (auto)" : "");
  }
  return text;
}

std::string decode_table(const BenchReport& report) {
  if (report.decode.empty()) return {};
  std::string text = fmt::format(
      "\nDecode, {} tokens each\n"
      "  {:>6}  {:>8}  {:>9}  {:>9}\n",
      report.decode.front().tokens, "after", "tok/s", "ms/token", "bandwidth");
  for (const DecodeTiming& timing : report.decode) {
    text += fmt::format("  {:>6}  {:>8.1f}  {:>9.2f}  {:>9}\n",
                        timing.prompt_tokens, timing.tokens_per_s(),
                        timing.median_ms() / static_cast<double>(timing.tokens),
                        percent(bandwidth_share(report, timing)));
  }
  return text;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

double PrefillTiming::median_ms() const { return median(ms); }

double PrefillTiming::tokens_per_s() const {
  const double time = median_ms();
  return time > 0 ? 1e3 * static_cast<double>(prompt_tokens) / time : 0;
}

double DecodeTiming::median_ms() const { return median(ms); }

double DecodeTiming::tokens_per_s() const {
  const double time = median_ms();
  return time > 0 ? 1e3 * static_cast<double>(tokens) / time : 0;
}

int64_t linear_macs(const ModelConfig& config, int64_t prompt_tokens,
                    PrefillMode mode) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_and_o =
      2 * hidden * config.num_attention_heads * config.head_dim;
  const int64_t k_and_v =
      2 * hidden * config.num_key_value_heads * config.head_dim;
  const int64_t mlp = 3 * hidden * config.intermediate_size;
  const int64_t layer = q_and_o + k_and_v + mlp;
  const int64_t layers = std::ssize(config.layers);
  const int64_t lm_head = config.vocab_size * hidden;
  if (mode == PrefillMode::kFull) {
    return prompt_tokens * (layers * layer + lm_head);
  }
  return (prompt_tokens - 1) * ((layers - 1) * layer + k_and_v) +
         layers * layer + lm_head;
}

double integer_share(const BenchReport& report, const PrefillTiming& timing) {
  const double seconds = timing.median_ms() / 1e3;
  if (seconds <= 0 || report.peak_integer_gmacs <= 0) return 0;
  const auto macs = static_cast<double>(
      linear_macs(report.config, timing.prompt_tokens, timing.mode));
  return macs / seconds / (1e9 * report.peak_integer_gmacs);
}

double bandwidth_share(const BenchReport& report, const DecodeTiming& timing) {
  if (report.peak_read_gbytes_per_s <= 0) return 0;
  return static_cast<double>(report.weight_bytes) * timing.tokens_per_s() /
         (1e9 * report.peak_read_gbytes_per_s);
}

std::vector<PrefillTiming> chunk_sweep(const BenchReport& report) {
  std::vector<PrefillTiming> sweep;
  for (const PrefillTiming& timing : report.prefill) {
    if (timing.mode == PrefillMode::kChunked &&
        timing.prompt_tokens == report.sweep_prompt_tokens) {
      sweep.push_back(timing);
    }
  }
  std::sort(sweep.begin(), sweep.end(),
            [](const PrefillTiming& a, const PrefillTiming& b) {
              return a.chunk_tokens < b.chunk_tokens;
            });
  return sweep;
}

const PrefillTiming* full_timing(const BenchReport& report,
                                 int64_t prompt_tokens) {
  for (const PrefillTiming& timing : report.prefill) {
    if (timing.prompt_tokens == prompt_tokens &&
        timing.mode == PrefillMode::kFull) {
      return &timing;
    }
  }
  return nullptr;
}

std::string bench_tables(const BenchReport& report) {
  return machine_lines(report) + before_after_table(report) +
         sweep_table(report) + decode_table(report);
}

nlohmann::ordered_json bench_json(const BenchReport& report) {
  nlohmann::ordered_json prefill = nlohmann::ordered_json::array();
  for (const PrefillTiming& timing : report.prefill) {
    const bool full = timing.mode == PrefillMode::kFull;
    prefill.push_back(
        {{"prompt_tokens", timing.prompt_tokens},
         {"mode", full ? "full" : "chunked"},
         {"chunk_tokens", timing.chunk_tokens},
         {"automatic", timing.automatic},
         {"ms", timing.ms},
         {"median_ms", timing.median_ms()},
         {"tokens_per_s", timing.tokens_per_s()},
         {"linear_macs",
          linear_macs(report.config, timing.prompt_tokens, timing.mode)},
         {"integer_share", integer_share(report, timing)},
         {"transient_bytes", timing.transient_bytes}});
  }
  nlohmann::ordered_json decode = nlohmann::ordered_json::array();
  for (const DecodeTiming& timing : report.decode) {
    decode.push_back({{"prompt_tokens", timing.prompt_tokens},
                      {"tokens", timing.tokens},
                      {"ms", timing.ms},
                      {"median_ms", timing.median_ms()},
                      {"tokens_per_s", timing.tokens_per_s()},
                      {"bandwidth_share", bandwidth_share(report, timing)}});
  }
  return {
      {"model", report.model},
      {"backend", report.backend},
      {"threads", report.threads},
      {"weight_bytes", report.weight_bytes},
      {"load_ms", report.load_ms},
      {"cold_start",
       {{"prompt_tokens", report.cold_prompt_tokens}, {"ms", report.cold_ms}}},
      {"peak_memory_bytes", report.peak_memory_bytes},
      {"machine",
       {{"integer_gmacs", report.peak_integer_gmacs},
        {"read_gbytes_per_s", report.peak_read_gbytes_per_s}}},
      {"repeats", report.repeats},
      {"sweep_prompt_tokens", report.sweep_prompt_tokens},
      {"prefill", prefill},
      {"decode", decode}};
}

}  // namespace carat::cli
