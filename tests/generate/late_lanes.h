// A backend whose lanes run as late and in as odd an order as Backend allows.
#ifndef CARAT_TESTS_GENERATE_LATE_LANES_H_
#define CARAT_TESTS_GENERATE_LATE_LANES_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace carat {

// Keeps the operations of two lanes and has another backend run them when they
// are waited for: the later chunk first, as far as the order of a layer's
// heads() and attention() lets it.
class LateLanes : public Backend {
 public:
  explicit LateLanes(Backend& other) : other_(other) {}

  // From now on in some order instead, of those that are allowed.
  void shuffle(uint32_t seed) {
    is_shuffled_ = true;
    random_.seed(seed);
  }
  // How often an operation ran before an earlier one of the other lane.
  int overtakings() const { return overtakings_; }
  // Whether all operations have run.
  bool is_idle() const { return is_done(calls_); }

  std::string name() const override { return "late " + other_.name(); }
  int threads() const override { return other_.threads(); }
  std::unique_ptr<PackedMatrix> pack(const WeightSource& source) override {
    return other_.pack(source);
  }
  int64_t packed_bytes(int64_t rows, int64_t cols,
                       const QuantizedLayout& layout) const override {
    return other_.packed_bytes(rows, cols, layout);
  }
  std::unique_ptr<Buffer> upload(std::span<const float> values) override {
    return other_.upload(values);
  }
  std::unique_ptr<Buffer> allocate(int64_t floats) override {
    return other_.allocate(floats);
  }
  std::unique_ptr<LinearInput> make_input(int64_t max_rows,
                                          int64_t cols) override {
    return other_.make_input(max_rows, cols);
  }
  std::unique_ptr<KvStorage> make_kv(const KvLayout& layout) override {
    return other_.make_kv(layout);
  }

  void embed(const PackedMatrix& table, std::span<const int32_t> tokens,
             float scale, Matrix x) override {
    note([&o = other_, &table, own = std::vector(tokens.begin(), tokens.end()),
          scale, x] { o.embed(table, own, scale, x); });
  }
  void rope_angles(std::span<const SequenceRows> sequences,
                   std::span<const double> frequencies,
                   RopeAngles angles) override {
    note([&o = other_, own = Sequences(sequences), angles,
          f = std::vector(frequencies.begin(), frequencies.end())] {
      o.rope_angles(own.rows, f, angles);
    });
  }
  void norm(Matrix x, Vector weight, float eps, LinearInput& out) override {
    note([&o = other_, x, weight, eps, &out] { o.norm(x, weight, eps, out); });
  }
  void linear(const LinearInput& input,
              std::span<const LinearOutput> outputs) override {
    note([&o = other_, &input,
          own = std::vector(outputs.begin(), outputs.end())] {
      o.linear(input, own);
    });
  }
  void heads(const HeadsInput& in, std::span<const SequenceRows> sequences,
             const KvLayer& kv) override {
    note([&o = other_, in, own = Sequences(sequences),
          kv] { o.heads(in, own.rows, kv); },
         {kv.storage, kv.layer});
  }
  void attention(Matrix q, std::span<const SequenceRows> sequences,
                 const KvLayer& kv, const AttentionShape& shape,
                 LinearInput& out) override {
    note([&o = other_, q, own = Sequences(sequences), kv, shape,
          &out] { o.attention(q, own.rows, kv, shape, out); },
         {kv.storage, kv.layer});
  }
  void add_norm(Matrix x, Matrix y, Vector post_norm, Vector next_norm,
                float eps, LinearInput* out) override {
    note([&o = other_, x, y, post_norm, next_norm, eps, out] {
      o.add_norm(x, y, post_norm, next_norm, eps, out);
    });
  }
  void gated_linear(const LinearInput& input, const PackedMatrix& gate,
                    const PackedMatrix& up, Activation activation,
                    LinearInput& out) override {
    note([&o = other_, &input, &gate, &up, activation, &out] {
      o.gated_linear(input, gate, up, activation, out);
    });
  }
  void gather(Matrix in, std::span<const int64_t> rows, Matrix out) override {
    note([&o = other_, in, own = std::vector(rows.begin(), rows.end()), out] {
      o.gather(in, own, out);
    });
  }
  void read(Matrix in, int64_t row, float* out) override {
    run_until(calls_);
    other_.read(in, row, out);
  }

  bool eager() const override { return false; }
  int64_t submit() override { return calls_; }
  void wait(int64_t ticket) override { run_until(ticket); }
  int lanes(int64_t /*rows*/) const override { return 2; }
  void use_lane(int lane) override {
    if (!uses_lanes_) barrier_ = calls_;
    uses_lanes_ = true;
    lane_ = lane;
  }
  void join_lanes() noexcept override {
    barrier_ = calls_;
    uses_lanes_ = false;
    lane_ = 0;
  }

 private:
  using Layer = std::pair<const KvStorage*, int>;  // of the cache; null: none
  struct Operation {
    int64_t call;     // from 1
    int64_t barrier;  // all calls up to this one run before
    Layer layer;      // whose earlier calls run before
    std::function<void()> run;
  };
  // With block tables of their own.
  struct Sequences {
    explicit Sequences(std::span<const SequenceRows> from)
        : rows(from.begin(), from.end()) {
      for (SequenceRows& sequence : rows) {
        for (BlockTable& table : sequence.tables) {
          ids.push_back(std::make_shared<std::vector<int32_t>>(
              table.ids.begin(), table.ids.end()));
          table.ids = *ids.back();
        }
      }
    }
    std::vector<SequenceRows> rows;
    std::vector<std::shared_ptr<std::vector<int32_t>>> ids;
  };

  void note(std::function<void()> run, Layer layer = {}) {
    ++calls_;
    if (layer.first != nullptr) calls_of_[layer].push_back(calls_);
    lanes_[lane_].push_back({calls_, barrier_, layer, std::move(run)});
  }
  bool may_run(const Operation& operation) {
    return is_done(operation.barrier) &&
           (operation.layer.first == nullptr ||
            calls_of_[operation.layer].front() == operation.call);
  }
  // Of the lanes, which goes on; one always may.
  std::deque<Operation>& next_lane() {
    std::vector<std::deque<Operation>*> able;
    for (auto& lane : lanes_) {
      if (!lane.empty() && may_run(lane.front())) able.push_back(&lane);
    }
    if (able.empty()) throw std::logic_error("no operation may run");
    if (able.size() == 1) return *able[0];
    const bool is_second_later = able[1]->front().call > able[0]->front().call;
    const size_t later = is_second_later ? 1 : 0;
    const bool overtakes = !is_shuffled_ || random_() % 2 == 0;
    overtakings_ += overtakes ? 1 : 0;
    return *able[overtakes ? later : 1 - later];
  }
  // Whether all calls up to this one have run.
  bool is_done(int64_t call) const {
    for (const auto& lane : lanes_) {
      if (!lane.empty() && lane.front().call <= call) return false;
    }
    return true;
  }
  void run_until(int64_t call) {
    while (!is_done(call)) {
      std::deque<Operation>& lane = next_lane();
      const Operation operation = std::move(lane.front());
      lane.pop_front();
      if (operation.layer.first != nullptr) {
        calls_of_[operation.layer].pop_front();
      }
      operation.run();
    }
  }

  Backend& other_;
  std::deque<Operation> lanes_[2];
  std::map<Layer, std::deque<int64_t>> calls_of_;  // yet to run
  int64_t barrier_ = 0;
  int lane_ = 0;
  bool uses_lanes_ = false;
  int64_t calls_ = 0;
  int overtakings_ = 0;
  bool is_shuffled_ = false;
  std::mt19937 random_;
};

}  // namespace carat

#endif  // CARAT_TESTS_GENERATE_LATE_LANES_H_
