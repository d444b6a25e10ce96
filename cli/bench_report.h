// What `carat bench` measured, as tables for people and JSON for programs.
#ifndef CARAT_CLI_BENCH_REPORT_H_
#define CARAT_CLI_BENCH_REPORT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "carat/model_config.h"
#include "carat/options.h"

namespace carat::cli {

/// One way to run a prompt, and how long it took.
struct PrefillTiming {
  int64_t prompt_tokens = 0;
  PrefillMode mode = PrefillMode::kChunked;
  int64_t chunk_tokens = 0;     ///< the whole prompt in full mode
  bool automatic = false;       ///< the chunk size is the default one
  std::vector<double> ms = {};  ///< of each run
  int64_t transient_bytes = 0;

  double median_ms() const;
  double tokens_per_s() const;
};

/// Tokens generated one by one after a prompt.
struct DecodeTiming {
  int64_t prompt_tokens = 0;
  int64_t tokens = 0;           ///< per run
  std::vector<double> ms = {};  ///< of each run, all its tokens

  double median_ms() const;
  double tokens_per_s() const;
};

struct BenchReport {
  std::string model;
  std::string backend;
  int threads = 0;
  ModelConfig config;
  int64_t weight_bytes = 0;
  double load_ms = 0;
  /// From opening the file to the logits after a prompt, the first thing run.
  double cold_ms = 0;
  int64_t cold_prompt_tokens = 0;
  int64_t peak_memory_bytes = 0;
  double peak_integer_gmacs = 0;      ///< of the machine, with these threads
  double peak_read_gbytes_per_s = 0;  ///< likewise
  int repeats = 0;
  int64_t sweep_prompt_tokens = 0;  ///< whose chunk sweep this is
  std::vector<PrefillTiming> prefill;
  std::vector<DecodeTiming> decode;
};

/// The middle value; the mean of the two middle ones; 0 of none.
double median(std::vector<double> values);

/// Multiply-accumulates that the linear layers execute for a prompt: in chunked
/// mode only the last token takes the last layer beyond its keys and values,
/// and the lm_head.
int64_t linear_macs(const ModelConfig& config, int64_t prompt_tokens,
                    PrefillMode mode);

/// Share of the machine's integer peak, 0 to 1; 0 if that is unknown.
double integer_share(const BenchReport& report, const PrefillTiming& timing);

/// Share of the machine's read bandwidth, if a token reads every weight once.
double bandwidth_share(const BenchReport& report, const DecodeTiming& timing);

/// The sweep's timings: those of the chunked mode at sweep_prompt_tokens, by
/// rising chunk size.
std::vector<PrefillTiming> chunk_sweep(const BenchReport& report);

/// The full mode at `prompt_tokens`; nullptr if it was not measured.
const PrefillTiming* full_timing(const BenchReport& report,
                                 int64_t prompt_tokens);

/// Machine, before/after table, chunk sweep and decode, as text.
std::string bench_tables(const BenchReport& report);

nlohmann::ordered_json bench_json(const BenchReport& report);

}  // namespace carat::cli

#endif  // CARAT_CLI_BENCH_REPORT_H_
