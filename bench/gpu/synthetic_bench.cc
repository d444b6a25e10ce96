// Times prefill and decode of a Gemma 3 shape with random weights.
//
//   synthetic_bench [--weights q4_0|mlx4] [--json FILE]
//                   [SHAPE [BACKEND [MODE...]]]
//
// SHAPE: 270m, 1b, 4b, 12b or 27b. MODE: prefill, decode or sweep, each of
// several lengths and all of them by default; or one measurement,
// prefill=TOKENS, prefill=TOKENS/CHUNK or decode=TOKENS. mlx4: groups of 64,
// scale and bias in bf16. --json appends a line for each measurement to FILE.
// Times are wall clock from the call until the device is done, host included;
// medians.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/registry.h"
#include "bench/gpu/synthetic_checkpoint.h"
#include "carat/error.h"
#include "generate/prefill.h"
#include "model/registry.h"

namespace carat {
namespace {

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

double median_ms(int warmups, int count, const std::function<void()>& body) {
  for (int i = 0; i < warmups; ++i) body();
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(seconds_of(body) * 1e3);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

std::vector<int32_t> tokens_of(int64_t count) {
  std::vector<int32_t> tokens;
  uint32_t state = 12345;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>((state >> 8) % 262144));
  }
  return tokens;
}

struct Options {
  std::string shape = "4b";
  std::string backend = "cuda";
  std::string weights = "q4_0";
  std::string json_path;
  std::vector<std::string> modes;
};

class Bench {
 public:
  Bench(const SyntheticShape& shape, const Options& options)
      : options_(options), backend_(make_backend({.name = options.backend})) {
    fmt::print("# {} {}, {}\n", shape.name, options.weights, backend_->name());
    const double seconds = seconds_of([&] {
      const SyntheticCheckpoint checkpoint(
          shape, options.weights == "mlx4" ? SyntheticWeights::kMlx4
                                           : SyntheticWeights::kQ4_0);
      model_ = load_model(checkpoint, *backend_, {});
    });
    fmt::print("loaded {:.2f} GB of weights in {:.1f} s\n",
               static_cast<double>(model_->weight_bytes()) * 1e-9, seconds);
    std::fflush(stdout);
    cache_ = std::make_unique<KvCache>(*backend_, model_->cache_shape());
  }

  void prefill() {
    for (const int64_t length : {128, 577, 2048, 8192}) {
      time_prefill(length, length < 4096 ? length : 2048);
    }
  }
  void sweep() {
    for (const int64_t chunk : {64, 128, 256, 288, 512, 576}) {
      time_prefill(577, chunk);
    }
    for (const int64_t chunk : {512, 1024, 2048, 4096}) {
      time_prefill(8192, chunk);
    }
  }
  void decode() {
    for (const int64_t length : {16, 577, 4096}) time_decode(length);
  }

  void time_decode(int64_t length) {
    KvSequence sequence(*cache_);
    Workspace workspace(*backend_, model_->config());
    const auto tokens = tokens_of(length);
    prefill_chunked(*model_, workspace, sequence, tokens, 1024, {});
    const int32_t token = 17;
    const auto step = [&] {
      prefill_chunked(*model_, workspace, sequence, {&token, 1}, 1024, {});
    };
    const double ms = median_ms(10, 60, step);
    fmt::print("decode after {:5}: {:7.3f} ms, {:7.1f} tok/s\n", length, ms,
               1e3 / ms);
    note("decode", length, 1, ms);
  }

  void time_prefill(int64_t length, int64_t chunk) {
    const auto tokens = tokens_of(length);
    Workspace workspace(*backend_, model_->config());
    const auto run = [&] {
      KvSequence sequence(*cache_);
      prefill_chunked(*model_, workspace, sequence, tokens, chunk, {});
    };
    const double ms = median_ms(3, length > 4000 ? 5 : 15, run);
    fmt::print(
        "prefill {:5} in chunks of {:4}: {:8.3f} ms, {:8.0f} tok/s, "
        "workspace {:.1f} MB\n",
        length, chunk, ms, static_cast<double>(length) / ms * 1e3,
        static_cast<double>(workspace.bytes()) * 1e-6);
    note("prefill", length, chunk, ms);
  }

 private:
  void note(std::string_view pass, int64_t tokens, int64_t chunk, double ms) {
    std::fflush(stdout);
    if (options_.json_path.empty()) return;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen(options_.json_path.c_str(), "a"), std::fclose);
    if (!file) {
      throw Error(ErrorCode::kNotFound,
                  options_.json_path + ": cannot be written");
    }
    fmt::print(file.get(),
               R"({{"kind": "pass", "engine": "carat", "weights": "{}", )"
               R"("shape": "{}", "pass": "{}", "tokens": {}, "chunk": {}, )"
               R"("ms": {:.4f}, "weight_bytes": {}}})"
               "\n",
               options_.weights, options_.shape, pass, tokens, chunk, ms,
               model_->weight_bytes());
  }

  Options options_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
};

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

int64_t parse_count(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, status] = std::from_chars(text.data(), end, value);
  if (status != std::errc() || at != end || value < 1) {
    refuse(fmt::format("'{}' is not a number of tokens", text));
  }
  return value;
}

void run_mode(Bench& bench, std::string_view mode) {
  const size_t equals = mode.find('=');
  const std::string_view name = mode.substr(0, equals);
  if (equals == mode.npos) {
    if (name == "prefill") return bench.prefill();
    if (name == "decode") return bench.decode();
    if (name == "sweep") return bench.sweep();
  } else {
    const std::string_view counts = mode.substr(equals + 1);
    const size_t slash = counts.find('/');
    const int64_t tokens = parse_count(counts.substr(0, slash));
    if (name == "decode") return bench.time_decode(tokens);
    if (name == "prefill") {
      return bench.time_prefill(
          tokens, slash == counts.npos ? tokens
                                       : parse_count(counts.substr(slash + 1)));
    }
  }
  refuse(fmt::format("mode '{}' is unknown", mode));
}

Options parse(int argc, char** argv) {
  Options options;
  int place = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--weights" || argument == "--json") {
      if (++i == argc) refuse(fmt::format("{}: a value is missing", argument));
      (argument == "--json" ? options.json_path : options.weights) = argv[i];
    } else if (place == 0) {
      options.shape = argument;
      ++place;
    } else if (place == 1) {
      options.backend = argument;
      ++place;
    } else {
      options.modes.emplace_back(argument);
    }
  }
  if (options.modes.empty()) options.modes = {"prefill", "decode", "sweep"};
  if (options.weights != "q4_0" && options.weights != "mlx4") {
    refuse(fmt::format("weights '{}' are unknown", options.weights));
  }
  return options;
}

void run(const Options& options) {
  for (const SyntheticShape& shape : kSyntheticShapes) {
    if (shape.name != options.shape) continue;
    Bench bench(shape, options);
    for (const std::string& mode : options.modes) run_mode(bench, mode);
    return;
  }
  refuse(fmt::format("shape '{}' is unknown", options.shape));
}

}  // namespace
}  // namespace carat

int main(int argc, char** argv) {
  try {
    carat::run(carat::parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
