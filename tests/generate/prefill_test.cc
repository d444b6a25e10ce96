#include "generate/prefill.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "carat/error.h"

namespace carat {
namespace {

class NoBuffer : public Buffer {
 public:
  float* data() override { return nullptr; }
  int64_t bytes() const override { return 0; }
};
class NoInput : public LinearInput {
 public:
  NoInput() : LinearInput(0, 0) {}
  int64_t bytes() const override { return 0; }
};

// Keeps a log; computes nothing.
class LoggingBackend : public Backend {
 public:
  LoggingBackend(int lanes, bool is_eager)
      : lanes_(lanes), is_eager_(is_eager) {}
  std::vector<std::string> log;
  int buffers = 100;  // there is memory for

  int lanes(int64_t rows) const override { return rows <= 4 ? lanes_ : 1; }
  void use_lane(int lane) override {
    log.push_back("lane " + std::to_string(lane));
  }
  void join_lanes() noexcept override { log.emplace_back("join"); }
  bool eager() const override { return is_eager_; }
  int64_t submit() override {
    log.emplace_back("submit");
    return ++last_ticket_;
  }
  void wait(int64_t ticket) override {
    log.push_back("wait " + std::to_string(ticket));
  }

  std::string name() const override { return "logging"; }
  int threads() const override { return 1; }
  std::unique_ptr<PackedMatrix> pack(const WeightSource&) override {
    return nullptr;
  }
  int64_t packed_bytes(int64_t, int64_t,
                       const QuantizedLayout&) const override {
    return 0;
  }
  std::unique_ptr<Buffer> upload(std::span<const float>) override {
    return nullptr;
  }
  std::unique_ptr<Buffer> allocate(int64_t) override {
    if (buffers-- == 0) throw Error(ErrorCode::kOutOfMemory, "full");
    return std::make_unique<NoBuffer>();
  }
  std::unique_ptr<LinearInput> make_input(int64_t, int64_t) override {
    return std::make_unique<NoInput>();
  }
  std::unique_ptr<KvStorage> make_kv(const KvLayout&) override {
    return nullptr;
  }
  void embed(const PackedMatrix&, std::span<const int32_t>, float,
             Matrix) override {}
  void rope_angles(std::span<const SequenceRows>, std::span<const double>,
                   RopeAngles) override {}
  void norm(Matrix, Vector, float, LinearInput&) override {}
  void linear(const LinearInput&, std::span<const LinearOutput>) override {}
  void heads(const HeadsInput&, std::span<const SequenceRows>,
             const KvLayer&) override {}
  void attention(Matrix, std::span<const SequenceRows>, const KvLayer&,
                 const AttentionShape&, LinearInput&) override {}
  void add_norm(Matrix, Matrix, Vector, Vector, float, LinearInput*) override {}
  void gated_linear(const LinearInput&, const PackedMatrix&,
                    const PackedMatrix&, Activation, LinearInput&) override {}
  void gather(Matrix, std::span<const int64_t>, Matrix) override {}
  void read(Matrix, int64_t, float*) override {}

 private:
  int lanes_;
  bool is_eager_;
  int64_t last_ticket_ = 0;
};

// Notes which arena a chunk gets.
class LoggingModel : public Model {
 public:
  explicit LoggingModel(std::vector<std::string>& log) : Model({}), log_(log) {}
  int64_t weight_bytes() const override { return 0; }
  Matrix forward(std::span<const BatchSequence> batch,
                 Workspace& workspace) override {
    size_t index = 0;
    while (index < arenas_.size() && arenas_[index] != &workspace) ++index;
    if (index == arenas_.size()) arenas_.push_back(&workspace);
    workspace.fit(std::ssize(batch[0].tokens), 0);
    log_.push_back(std::to_string(batch[0].tokens.size()) +
                   " tokens in arena " + std::to_string(index));
    return {};
  }

 private:
  std::vector<std::string>& log_;
  std::vector<Workspace*> arenas_;
};

class PrefillTest : public testing::Test {
 protected:
  using Log = std::vector<std::string>;
  static Log prefill(int lanes, bool is_eager, int64_t tokens, int64_t chunk,
                     const ProgressCallback& on_progress = {},
                     int buffers = 100) {
    LoggingBackend backend(lanes, is_eager);
    backend.buffers = buffers;
    LoggingModel model(backend.log);
    Workspace workspace(backend, {});
    KvCache cache(backend, {});
    KvSequence sequence(cache);
    const std::vector<int32_t> ids(static_cast<size_t>(tokens));
    try {
      prefill_chunked(model, workspace, sequence, ids, chunk, on_progress);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled);
      backend.log.emplace_back("cancelled");
    }
    return backend.log;
  }
};

TEST_F(PrefillTest, AnEagerBackendIsWaitedForAfterEachChunk) {
  EXPECT_EQ(prefill(1, true, 5, 4),
            (Log{"4 tokens in arena 0", "submit", "wait 1",
                 "1 tokens in arena 0", "submit", "wait 2"}));
}

TEST_F(PrefillTest, AChunkIsPreparedWhileAnotherRuns) {
  EXPECT_EQ(
      prefill(1, false, 9, 4),
      (Log{"4 tokens in arena 0", "submit", "4 tokens in arena 0", "submit",
           "wait 1", "1 tokens in arena 0", "submit", "wait 2", "wait 3"}));
}

TEST_F(PrefillTest, LanesHaveAnArenaEachAndAreJoined) {
  EXPECT_EQ(prefill(2, false, 13, 4),
            (Log{"lane 0", "4 tokens in arena 0", "submit",            //
                 "lane 1", "4 tokens in arena 1", "submit",            //
                 "lane 0", "4 tokens in arena 0", "submit", "wait 1",  //
                 "lane 1", "1 tokens in arena 1", "submit", "wait 2",  //
                 "wait 3", "wait 4", "join"}));
}

TEST_F(PrefillTest, WithoutMemoryForASecondArenaThereIsOneLane) {
  EXPECT_EQ(prefill(2, false, 5, 4, {}, 1),
            (Log{"4 tokens in arena 0", "submit", "1 tokens in arena 0",
                 "submit", "wait 1", "wait 2"}));
}

TEST_F(PrefillTest, OneChunkNeedsNoLane) {
  EXPECT_EQ(prefill(2, false, 4, 4),
            (Log{"4 tokens in arena 0", "submit", "wait 1"}));
  // Nor do chunks that fill the device.
  EXPECT_EQ(prefill(2, false, 6, 5),
            (Log{"5 tokens in arena 0", "submit", "1 tokens in arena 0",
                 "submit", "wait 1", "wait 2"}));
}

TEST_F(PrefillTest, CancellingWaitsForAllLanesAndJoinsThem) {
  const auto refuse = [](int64_t, int64_t) { return false; };
  EXPECT_EQ(prefill(2, false, 100, 4, refuse),
            (Log{"lane 0", "4 tokens in arena 0", "submit",            //
                 "lane 1", "4 tokens in arena 1", "submit",            //
                 "lane 0", "4 tokens in arena 0", "submit", "wait 1",  //
                 "wait 3", "join", "cancelled"}));
}

TEST(ChooseChunkTest, AnExplicitSizeIsHonoured) {
  ModelConfig config;
  config.default_chunk_tokens = 128;
  EXPECT_EQ(choose_chunk_tokens(7, 256, config), 7);
  EXPECT_EQ(choose_chunk_tokens(std::nullopt, 256, config), 256);
  EXPECT_EQ(choose_chunk_tokens(std::nullopt, std::nullopt, config), 128);
  EXPECT_EQ(choose_chunk_tokens(std::nullopt, std::nullopt, ModelConfig{}),
            512);
}

TEST(ChooseChunkTest, RefusesSizesBelowOne) {
  for (const int64_t size : {0, -1}) {
    try {
      choose_chunk_tokens(size, std::nullopt, ModelConfig{});
      FAIL() << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    }
  }
}

TEST(PlanChunksTest, CoversEveryPositionOnceInOrder) {
  for (const int64_t tokens : {0, 1, 2, 63, 64, 65, 576, 577}) {
    for (const int64_t size : {1, 2, 64, 128, 1000}) {
      int64_t at = 0;
      for (const Chunk& chunk : plan_chunks(tokens, size)) {
        EXPECT_EQ(chunk.begin, at);
        EXPECT_GT(chunk.end, chunk.begin);
        EXPECT_LE(chunk.end - chunk.begin, size);
        at = chunk.end;
      }
      EXPECT_EQ(at, tokens);
    }
  }
}

TEST(PlanChunksTest, AHugeChunkIsTheWholePrompt) {
  EXPECT_EQ(plan_chunks(10, INT64_MAX), (std::vector<Chunk>{{0, 10}}));
}

}  // namespace
}  // namespace carat
