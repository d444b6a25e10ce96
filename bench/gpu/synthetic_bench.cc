// Times prefill and decode of a Gemma 3 shape with random weights.
//
//   synthetic_bench [SHAPE [BACKEND [MODE...]]]
//
// SHAPE: 270m, 1b, 4b, 12b or 27b. MODES: prefill, decode, sweep, ops; all by
// default. Times are wall clock from the call until the device is done, host
// included; medians.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "backend/registry.h"
#include "bench/gpu/synthetic_checkpoint.h"
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

class Bench {
 public:
  Bench(const SyntheticShape& shape, const std::string& backend)
      : backend_(make_backend({.name = backend})) {
    fmt::print("# {}, {}\n", shape.name, backend_->name());
    const double seconds = seconds_of([&] {
      const SyntheticCheckpoint checkpoint(shape);
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
    for (const int64_t length : {16, 577, 4096}) {
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
      std::fflush(stdout);
    }
  }

 private:
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
    std::fflush(stdout);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
};

int run(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "4b";
  const std::string backend = argc > 2 ? argv[2] : "cuda";
  std::vector<std::string> modes(argv + std::min(argc, 3), argv + argc);
  if (modes.empty()) modes = {"prefill", "decode", "sweep"};
  for (const SyntheticShape& shape : kSyntheticShapes) {
    if (shape.name != name) continue;
    Bench bench(shape, backend);
    for (const std::string& mode : modes) {
      if (mode == "prefill") bench.prefill();
      if (mode == "decode") bench.decode();
      if (mode == "sweep") bench.sweep();
    }
    return 0;
  }
  fmt::print(stderr, "shape '{}' is unknown\n", name);
  return 2;
}

}  // namespace
}  // namespace carat

int main(int argc, char** argv) {
  try {
    return carat::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
