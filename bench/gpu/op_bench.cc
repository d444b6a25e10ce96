// Times single operations on a GPU: each is submitted many times over several
// sets of weights, so that they come from memory, and waited for once.
//
//   op_bench [SHAPE [ROWS[@CACHED]...]]
//
// SHAPE: 270m, 1b, 4b (the default), 12b or 27b. CACHED: positions before the
// rows; 0, or 576 before a single row.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backend/registry.h"
#include "bench/gpu/synthetic_checkpoint.h"
#include "carat/error.h"
#include "tensor/weight_source.h"

namespace carat {
namespace {

class Weights : public WeightSource {
 public:
  Weights(int64_t rows, int64_t cols, QuantizedLayout layout)
      : WeightSource(rows, cols, layout) {}
  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    out.layout = layout();
    out.rows = count;
    out.cols = cols();
    out.codes.resize(static_cast<size_t>(count * cols()));
    auto state = static_cast<uint32_t>(first + 1);
    for (uint8_t& code : out.codes) {
      state = state * 1664525u + 1013904223u;
      code = static_cast<uint8_t>((state >> 24) & ((1u << layout().bits) - 1));
    }
    out.scales.assign(static_cast<size_t>(count * out.groups()), 0.01f);
    if (layout().has_bias) {
      out.biases.assign(static_cast<size_t>(count * out.groups()), -0.08f);
    }
  }
  void read_f32(int64_t, int64_t count, float* out) const override {
    std::fill_n(out, count * cols(), 0.0f);
  }
};

class OpBench {
 public:
  OpBench(const SyntheticShape& shape, QuantizedLayout layout)
      : shape_(shape),
        layout_(layout),
        backend_(make_backend({.name = "cuda"})) {
    const int64_t q = shape.heads * shape.head_dim;
    const int64_t kv = shape.kv_heads * shape.head_dim;
    for (int i = 0; i < kSets; ++i) {
      Set& set = sets_.emplace_back();
      for (const auto& [rows, cols] : {std::pair{q, shape.hidden},
                                       {kv, shape.hidden},
                                       {kv, shape.hidden},
                                       {shape.hidden, q},
                                       {shape.intermediate, shape.hidden},
                                       {shape.intermediate, shape.hidden},
                                       {shape.hidden, shape.intermediate}}) {
        set.push_back(pack(rows, cols));
      }
    }
    ones_ = backend_->upload(
        std::vector<float>(static_cast<size_t>(shape.hidden), 1.0f));
  }

  void run(int64_t rows, int64_t cached) {
    const SyntheticShape& s = shape_;
    const int64_t q_width = s.heads * s.head_dim;
    const int64_t kv_width = s.kv_heads * s.head_dim;
    const Memory x = random(rows, s.hidden), y = random(rows, s.hidden);
    const Memory q = random(rows, q_width), k = random(rows, kv_width),
                 v = random(rows, kv_width), angles = random(rows, s.head_dim);
    const auto hidden = backend_->make_input(rows, s.hidden);
    const auto attended = backend_->make_input(rows, q_width);
    const auto ffn = backend_->make_input(rows, s.intermediate);
    const Vector ones = {ones_->data(), s.hidden};
    const Vector head_ones = {ones_->data(), s.head_dim};
    backend_->norm(x.matrix, ones, 1e-6f, *hidden);
    attended->rows = ffn->rows = rows;

    const auto linear = [&](const char* name, int64_t outputs, int64_t cols,
                            const std::function<void(int)>& op) {
      const double us = time(op);
      const double flops = 2.0 * static_cast<double>(rows * outputs * cols);
      const double bytes =
          static_cast<double>(backend_->packed_bytes(outputs, cols, layout_));
      fmt::print("{:5} rows {:9} {:8.1f} us {:7.1f} TFLOP/s {:7.0f} GB/s\n",
                 rows, name, us, flops / us * 1e-6, bytes / us * 1e-3);
    };
    linear("qkv", q_width + 2 * kv_width, s.hidden, [&](int i) {
      const LinearOutput out[] = {{sets_[i][0].get(), q.matrix},
                                  {sets_[i][1].get(), k.matrix},
                                  {sets_[i][2].get(), v.matrix}};
      backend_->linear(*hidden, out);
    });
    linear("o", s.hidden, q_width, [&](int i) {
      const LinearOutput out{sets_[i][3].get(), y.matrix};
      backend_->linear(*attended, {&out, 1});
    });
    linear("gate+up", 2 * s.intermediate, s.hidden, [&](int i) {
      backend_->gated_linear(*hidden, *sets_[i][4], *sets_[i][5],
                             Activation::kGeluTanh, *ffn);
    });
    linear("down", s.hidden, s.intermediate, [&](int i) {
      const LinearOutput out{sets_[i][6].get(), y.matrix};
      backend_->linear(*ffn, {&out, 1});
    });
    const auto other = [&](const std::string& name,
                           const std::function<void(int)>& op) {
      fmt::print("{:5} rows {:9} {:8.1f} us\n", rows, name, time(op));
    };
    other("add_norm", [&](int) {
      backend_->add_norm(x.matrix, y.matrix, ones, ones, 1e-6f, hidden.get());
    });
    const auto kv = backend_->make_kv(
        {kRepeats, static_cast<int>(s.kv_heads), static_cast<int>(s.head_dim)});
    const int64_t blocks = (cached + rows + 63) / 64;
    kv->grow(blocks);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < blocks; ++i) ids.push_back(static_cast<int>(i));
    SequenceRows sequence{0, rows, cached, {}};
    sequence.tables[0] = {ids, 0};
    KvLayer layer{kv.get(), 0, CacheKind::kFull};
    HeadsInput heads{q.matrix,  k.matrix, v.matrix,     head_ones,
                     head_ones, 1e-6f,    angles.matrix};
    other("heads", [&](int) {
      layer.layer = (layer.layer + 1) % kRepeats;
      backend_->heads(heads, {&sequence, 1}, layer);
    });
    const AttentionShape attention{static_cast<int>(s.heads),
                                   static_cast<int>(s.kv_heads),
                                   static_cast<int>(s.head_dim),
                                   0.0625f,
                                   0,
                                   0};
    other("attention", [&](int) {
      backend_->attention(q.matrix, {&sequence, 1}, layer, attention,
                          *attended);
    });
    other("both", [&](int) {
      layer.layer = (layer.layer + 1) % kRepeats;
      backend_->heads(heads, {&sequence, 1}, layer);
      backend_->attention(q.matrix, {&sequence, 1}, layer, attention,
                          *attended);
    });
    std::fflush(stdout);
  }

 private:
  static constexpr int kSets = 4;
  static constexpr int kRepeats = 20;
  using Set = std::vector<std::unique_ptr<PackedMatrix>>;
  struct Memory {
    std::unique_ptr<Buffer> buffer;
    Matrix matrix;
  };

  std::unique_ptr<PackedMatrix> pack(int64_t rows, int64_t cols) {
    return backend_->pack(Weights(rows, cols, layout_));
  }
  Memory random(int64_t rows, int64_t cols) {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(rows * cols));
    for (float& value : values) value = normal(engine);
    Memory memory{backend_->upload(values), {}};
    memory.matrix = {memory.buffer->data(), rows, cols, cols};
    return memory;
  }
  double time(const std::function<void(int)>& op) {
    std::vector<double> times;
    for (int i = 0; i < 9; ++i) {
      const auto start = std::chrono::steady_clock::now();
      for (int j = 0; j < kRepeats; ++j) op(j % kSets);
      backend_->wait(backend_->submit());
      times.push_back(std::chrono::duration<double>(
                          std::chrono::steady_clock::now() - start)
                          .count());
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] / kRepeats * 1e6;
  }

  SyntheticShape shape_;
  QuantizedLayout layout_;
  std::unique_ptr<Backend> backend_;
  std::vector<Set> sets_;  // q, k, v, o, gate, up, down
  std::unique_ptr<Buffer> ones_;
};

}  // namespace
}  // namespace carat

int main(int argc, char** argv) {
  try {
    const std::string name = argc > 1 ? argv[1] : "4b";
    std::vector<std::string> counts(argv + std::min(argc, 2), argv + argc);
    if (counts.empty()) counts = {"1", "8", "16", "64", "128", "577", "2048"};
    for (const carat::SyntheticShape& shape : carat::kSyntheticShapes) {
      if (shape.name != name) continue;
      carat::OpBench bench(shape, {4, 32, 8, false});
      for (const std::string& count : counts) {
        const int64_t rows = std::stoll(count);
        const size_t at = count.find('@');
        bench.run(rows, at != std::string::npos
                            ? std::stoll(count.substr(at + 1))
                        : rows == 1 ? 576
                                    : 0);
      }
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
