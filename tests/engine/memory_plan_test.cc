// Whether a model fits a device, without one: the plan's arithmetic.
#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include <string>

#include "carat/error.h"
#include "model/registry.h"
#include "model/workspace.h"
#include "tests/cuda_device.h"
#include "tests/generate/late_lanes.h"
#include "tests/model/tiny_model.h"

namespace carat {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// Weights 700 MiB, 1 MiB of keys and values a block, workspace 30, logits 1.
MemoryPlan made_up(int64_t context) {
  MemoryPlan plan;
  plan.context_tokens = context;
  plan.weight_bytes = 700 * kMiB;
  plan.kv_full_bytes = (context + kBlockTokens - 1) / kBlockTokens * kMiB;
  plan.kv_window_bytes = 9 * kMiB;
  plan.workspace_bytes = 30 * kMiB;
  plan.logits_bytes = kMiB;
  return plan;
}

constexpr int64_t kBesideContext = (700 + 9 + 30 + 1 + 100) * kMiB;

DeviceMemoryState with_room_for(int64_t blocks) {
  return {.free_bytes = kBesideContext + blocks * kMiB,
          .total_bytes = 2048 * kMiB,
          .own_bytes = 100 * kMiB};
}

int64_t fit(int64_t blocks, std::optional<int64_t> requested,
            int64_t model_context = 64000) {
  return fit_context(made_up, with_room_for(blocks), "device X", requested,
                     model_context);
}

std::string message_of(int64_t blocks, std::optional<int64_t> requested) {
  try {
    fit(blocks, requested);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    return error.what();
  }
  return "no error";
}

TEST(MemoryPlanTest, WhatFitsIsTaken) {
  EXPECT_EQ(fit(1000, std::nullopt), 64000);
  EXPECT_EQ(fit(1000, 64000), 64000);
  EXPECT_EQ(fit(10, 640), 640);
  EXPECT_EQ(fit(10, 577), 577);
  EXPECT_EQ(fit(1, 5), 5);
}

TEST(MemoryPlanTest, WithoutARequestTheContextIsWhatFits) {
  EXPECT_EQ(fit(999, std::nullopt), 999 * 64);
  EXPECT_EQ(fit(10, std::nullopt), 640);
  EXPECT_EQ(fit(1, std::nullopt), 64);
}

TEST(MemoryPlanTest, ARequestThatDoesNotFitIsRefusedWithTheNumbers) {
  EXPECT_EQ(message_of(10, 641),
            "the model does not fit the memory of device X: it needs 851 MiB "
            "(weights 700 MiB, KV cache of 641 tokens 20 MiB, workspace and "
            "logits 131 MiB); of 2,048 MiB there are 850 MiB free; a context "
            "of 640 would fit");
}

TEST(MemoryPlanTest, AModelWithoutRoomForABlockIsRefused) {
  for (const auto requested : {std::optional<int64_t>(), {64}, {64000}}) {
    const std::string message = message_of(0, requested);
    EXPECT_NE(message.find("it needs 841 MiB"), std::string::npos) << message;
    EXPECT_NE(message.find("840 MiB free"), std::string::npos) << message;
    EXPECT_EQ(message.find("would fit"), std::string::npos) << message;
  }
}

TEST(MemoryPlanTest, KeysAndValuesTakeWholeSlabs) {
  class TenAtOnce : public KvStorage {
   public:
    TenAtOnce() : KvStorage({.layers = 3, .kv_heads = 2, .head_dim = 40}) {}
    int64_t block_bytes() const override { return 3 * kMiB; }
    int64_t slab_blocks() const override { return 10; }
    void grow(int64_t) override {}
  };
  const auto backend = make_backend({.name = "reference", .threads = 1});
  const auto planned = [&](int64_t blocks) {
    return planned_kv_bytes(*backend, TenAtOnce(), blocks);
  };
  EXPECT_EQ(planned(0), 0);
  EXPECT_EQ(planned(1), 30 * kMiB);
  EXPECT_EQ(planned(10), 30 * kMiB);
  EXPECT_EQ(planned(11), 60 * kMiB);
}

// Llama 3B's layers, whose blocks of 7 MiB make slabs of 28; skips without a
// GPU.
TEST(MemoryPlanTest, CudaSlabsTakeWhatIsPlanned) {
  std::string reason;
  const auto backend = cuda_or_null(&reason);
  if (!backend) GTEST_SKIP() << "no GPU here: " << reason;
  const auto storage =
      backend->make_kv({.layers = 28, .kv_heads = 8, .head_dim = 128});
  const int64_t before = backend->device_memory().value().free_bytes;
  for (const int64_t blocks : {1, 5, 37, 150}) {
    storage->grow(blocks);
    const int64_t taken = before - backend->device_memory().value().free_bytes;
    EXPECT_LE(taken, planned_kv_bytes(*backend, *storage, blocks)) << blocks;
    EXPECT_GE(taken, blocks * storage->block_bytes()) << blocks;
  }
}

// What is planned of a real file is what loading it takes.
class MemoryPlanOfAFileTest : public TinyModelTest {};

TEST_F(MemoryPlanOfAFileTest, WeightsAndWorkspaceAreWhatIsAllocated) {
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    LoadedModel loaded(path_, {.name = name, .threads = 1});
    const MemoryPlan plan =
        plan_memory(*loaded.checkpoint, *loaded.backend, 1000, 192, nullptr);
    // weight_bytes() leaves out small vectors.
    EXPECT_GE(plan.weight_bytes, loaded.model->weight_bytes());
    EXPECT_LE(plan.weight_bytes, loaded.model->weight_bytes() * 11 / 10);
    Workspace workspace(*loaded.backend, loaded.model->config());
    workspace.fit(192, 1);
    EXPECT_EQ(plan.workspace_bytes + plan.logits_bytes, workspace.bytes());
  }
}

TEST_F(MemoryPlanOfAFileTest, ChunksSideBySideHaveAnArenaEach) {
  LoadedModel loaded(path_, {.name = "reference", .threads = 1});
  LateLanes late(*loaded.backend);
  const MemoryPlan one_chunk =
      plan_memory(*loaded.checkpoint, late, 192, 192, nullptr);
  const MemoryPlan plan =
      plan_memory(*loaded.checkpoint, late, 1000, 192, nullptr);
  Workspace workspace(late, loaded.model->config());
  workspace.fit(192, 1);
  EXPECT_EQ(one_chunk.workspace_bytes + one_chunk.logits_bytes,
            workspace.bytes());
  ASSERT_EQ(workspace.fit_lanes(2, 192), 2);
  // The last chunk may be in either.
  workspace.of_lane(1).fit(192, 1);
  EXPECT_EQ(plan.workspace_bytes + plan.logits_bytes, workspace.bytes());
}

TEST_F(MemoryPlanOfAFileTest, QuantisingWhileLoadingCounts) {
  const auto folder = shared_data() / "tiny-gemma3" / "text-f32";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "absent: " << folder;
  const auto checkpoint = open_checkpoint(folder);
  const auto backend = make_backend({.name = "cpu", .threads = 1});
  const int64_t eight_bits = count_weight_bytes(*checkpoint, *backend);
  const int64_t four_bits =
      count_weight_bytes(*checkpoint, *backend, &find_quantization("q4_0"));
  EXPECT_LT(four_bits, eight_bits * 3 / 4);
  const auto model =
      load_model(*checkpoint, *backend, {}, &find_quantization("q4_0"));
  EXPECT_GE(four_bits, model->weight_bytes());
  EXPECT_LE(four_bits, model->weight_bytes() * 11 / 10);
}

// Skips without a GPU.
TEST_F(MemoryPlanOfAFileTest, CudaTakesNoMoreThanIsPlanned) {
  std::string reason;
  const auto backend = cuda_or_null(&reason);
  if (!backend) GTEST_SKIP() << "no GPU here: " << reason;
  const auto checkpoint = open_checkpoint(path_);
  const MemoryPlan plan =
      plan_memory(*checkpoint, *backend, 1024, 512, nullptr);
  const DeviceMemoryState before = backend->device_memory().value();
  EXPECT_GT(before.free_bytes, 0);
  EXPECT_LE(before.free_bytes, before.total_bytes);
  const auto model = load_model(*checkpoint, *backend, {});
  KvCache cache(*backend, model->cache_shape());
  KvSequence sequence(cache);
  Workspace workspace(*backend, model->config());
  const auto tokens = synthetic_prompt(1024, model->config().vocab_size);
  prefill_chunked(*model, workspace, sequence, tokens, 512, {});
  const DeviceMemoryState after = backend->device_memory().value();
  EXPECT_LE(before.free_bytes - after.free_bytes,
            planned_bytes(plan) + before.own_bytes);
}

TEST_F(MemoryPlanOfAFileTest, CudaEngineTakesTheWholeContextWhereItFits) {
  std::string reason;
  if (!cuda_or_null(&reason)) GTEST_SKIP() << "no GPU here: " << reason;
  EngineOptions options;
  options.backend = "cuda";
  options.device = 0;
  const auto engine = Engine::load(path_, options);
  EXPECT_EQ(engine->context_tokens(), engine->config().max_position_embeddings);
}

}  // namespace
}  // namespace carat
