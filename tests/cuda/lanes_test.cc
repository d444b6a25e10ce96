// Chunks side by side: a slow one's keys and values are there for the next.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda/cuda_fixture.h"

namespace carat {
namespace {

constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 128;
constexpr int64_t kHidden = 512;
constexpr int64_t kRows = 64;  // of a chunk: a block of the cache
constexpr int kRounds = 5;     // launched, made a graph, and that played again

// One layer's attention over a cache of its own, chunk by chunk.
class Layer {
 public:
  explicit Layer(Backend& backend)
      : backend_(backend), kv_(backend.make_kv(layout())) {
    kv_->grow(2);
  }

  // Products of a large matrix, before a chunk's keys or between them and its
  // attention: they make it late by milliseconds.
  struct Delay {
    int before = 0, inside = 0;
  };

  // The chunk at `position` whose input is the rows from `row` of `all`;
  // `blocks` are those it sees, the last its own.
  void run(size_t lane, Matrix all, int64_t row, int64_t position,
           std::vector<int32_t> blocks, Delay delay) {
    Chunk& chunk = *chunks_[lane];
    std::vector<int64_t> rows(kRows);
    for (int64_t i = 0; i < kRows; ++i) rows[static_cast<size_t>(i)] = row + i;
    backend_.gather(all, rows, chunk.x);
    backend_.norm(chunk.x, vector_of(ones_), 1e-6f, *chunk.hidden);
    const LinearOutput slow{slow_.get(), chunk.slow};
    const auto lose_time = [&](int products) {
      for (int i = 0; i < products; ++i) {
        backend_.linear(*chunk.hidden, {&slow, 1});
      }
    };
    lose_time(delay.before);
    const LinearOutput outputs[] = {
        {q_.get(), chunk.q}, {k_.get(), chunk.k}, {v_.get(), chunk.v}};
    backend_.linear(*chunk.hidden, outputs);
    SequenceRows sequence{0, kRows, position, {}};
    const auto first = (position + kRows) / kBlockTokens - std::ssize(blocks);
    sequence.tables[0] = {blocks, first};
    const KvLayer layer{kv_.get(), 0, CacheKind::kFull};
    HeadsInput in;
    in.q = chunk.q;
    in.k = chunk.k;
    in.v = chunk.v;
    in.angles = chunk.angles;
    backend_.heads(in, {&sequence, 1}, layer);
    lose_time(delay.inside);
    backend_.attention(chunk.q, {&sequence, 1}, layer,
                       {kHeads, kKvHeads, kHeadDim, 0.1f, 0, 0},
                       *chunk.attended);
    const LinearOutput output{o_.get(), chunk.y};
    // More than once: enough launches to be worth a graph.
    for (int i = 0; i < 4; ++i) backend_.linear(*chunk.attended, {&output, 1});
    backend_.submit();
  }
  Floats output(size_t lane) const { return chunks_[lane]->y.values(); }

 private:
  static KvLayout layout() { return {1, kKvHeads, kHeadDim}; }
  struct Chunk {
    explicit Chunk(Backend& backend)
        : x(backend, kRows, kHidden),
          slow(backend, kRows, 8192),
          q(backend, kRows, kHeads * kHeadDim),
          k(backend, kRows, kKvHeads * kHeadDim),
          v(backend, kRows, kKvHeads * kHeadDim),
          y(backend, kRows, kHidden),
          angles(backend, kRows, kHeadDim, normals(kRows * kHeadDim, 9)),
          hidden(backend.make_input(kRows, kHidden)),
          attended(backend.make_input(kRows, kHeads * kHeadDim)) {}
    BackendMatrix x, slow, q, k, v, y, angles;
    std::unique_ptr<LinearInput> hidden, attended;
  };
  std::unique_ptr<PackedMatrix> pack(int64_t rows, int64_t cols,
                                     uint32_t seed) {
    return backend_.pack(RandomWeights(rows, cols, {4, 32, 8, false}, seed));
  }

  Backend& backend_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<Buffer> ones_ =
      backend_.upload(Floats(static_cast<size_t>(kHidden), 1.0f));
  std::unique_ptr<PackedMatrix> slow_ = pack(8192, kHidden, 1);
  std::unique_ptr<PackedMatrix> q_ = pack(kHeads * kHeadDim, kHidden, 2);
  std::unique_ptr<PackedMatrix> k_ = pack(kKvHeads * kHeadDim, kHidden, 3);
  std::unique_ptr<PackedMatrix> v_ = pack(kKvHeads * kHeadDim, kHidden, 4);
  std::unique_ptr<PackedMatrix> o_ = pack(kHidden, kHeads* kHeadDim, 5);
  std::array<std::unique_ptr<Chunk>, 2> chunks_ = {
      std::make_unique<Chunk>(backend_), std::make_unique<Chunk>(backend_)};
};

class CudaLanes : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    if (cuda().lanes(kRows) != 2) GTEST_SKIP() << "no lanes on this device";
    all_ = std::make_unique<BackendMatrix>(
        cuda(), 2 * kRows * kRounds, kHidden,
        normals(2 * kRows * kRounds * kHidden, 8));
  }
  const BackendMatrix& all() const { return *all_; }
  // Two chunks of every round, with inputs of its own; the first one is late.
  // `second` are the blocks that the second chunk sees.
  std::vector<Floats> outputs(Layer& layer, bool in_lanes, Layer::Delay delay,
                              const std::vector<int32_t>& second,
                              int64_t second_position) {
    std::vector<Floats> result;
    for (int round = 0; round < kRounds; ++round) {
      const int64_t row = 2 * kRows * round;
      if (in_lanes) cuda().use_lane(0);
      layer.run(0, all(), row, 0, {0}, delay);
      if (in_lanes) cuda().use_lane(1);
      layer.run(1, all(), row + kRows, second_position, second, {});
      if (in_lanes) cuda().join_lanes();
      result.push_back(layer.output(0));
      result.push_back(layer.output(1));
    }
    return result;
  }
  void compare(Layer::Delay delay, const std::vector<int32_t>& second,
               int64_t second_position) {
    Layer in_order(cuda()), in_lanes(cuda());
    const auto expected =
        outputs(in_order, false, delay, second, second_position);
    const auto found = outputs(in_lanes, true, delay, second, second_position);
    for (size_t i = 0; i < found.size(); ++i) {
      expect_same_bytes(found[i], expected[i],
                        "round " + std::to_string(i / 2) + ", chunk " +
                            std::to_string(i % 2));
    }
    EXPECT_NE(expected[1], expected[3]) << "rounds differ";
  }

 private:
  std::unique_ptr<BackendMatrix> all_;
};

TEST_F(CudaLanes, AChunkFindsTheKeysOfASlowOneBeforeIt) {
  compare({.before = 300}, {0, 1}, kRows);
}

// As blocks are used again: the second chunk is of another sequence and writes
// into the block that the first one's attention reads.
TEST_F(CudaLanes, ABlockIsReadBeforeTheNextChunkWritesThere) {
  compare({.inside = 300}, {0}, 0);
}

TEST_F(CudaLanes, OtherWorkFollowsAfterJoining) {
  Layer in_order(cuda()), joined(cuda());
  for (int round = 0; round < kRounds; ++round) {
    const int64_t row = 2 * kRows * round;
    in_order.run(0, all(), row, 0, {0}, {});
    in_order.run(1, all(), row + kRows, kRows, {0, 1}, {});
    cuda().use_lane(1);
    joined.run(0, all(), row, 0, {0}, {.before = 300});
    cuda().join_lanes();
    joined.run(1, all(), row + kRows, kRows, {0, 1}, {});
    expect_same_bytes(joined.output(1), in_order.output(1), "after joining");
  }
}

TEST_F(CudaLanes, ThatAreNotThereAreAnError) {
  EXPECT_THROW(cuda().use_lane(2), Error);
  EXPECT_THROW(cuda().use_lane(-1), Error);
  EXPECT_EQ(cuda().lanes(int64_t{1} << 20), 1);
}

}  // namespace
}  // namespace carat
