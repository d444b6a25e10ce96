// One prompt, one answer: the bits of the logits do not depend on chunk size,
// on whether other positions' logits are computed, on batch neighbours, on the
// number of threads or on the instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "backend/cpu/isa.h"
#include "bench/gpu/synthetic_checkpoint.h"
#include "carat/error.h"
#include "tests/bit_hash.h"
#include "tests/cuda_device.h"
#include "tests/model/loaded_model.h"

namespace carat {
namespace {

struct Setup {
  std::string model;  // under the shared data
  std::string backend;
};

class ContractTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    path_ = shared_data() / GetParam().model;
    if (!std::filesystem::exists(path_)) {
      GTEST_SKIP() << "golden data is absent: " << path_;
    }
    if (GetParam().backend == "cuda") {
      std::string reason;
      if (!cuda_or_null(&reason)) GTEST_SKIP() << "no GPU here: " << reason;
    }
  }
  BackendOptions options(int threads, const std::string& isa = "auto") const {
    return {.name = GetParam().backend, .isa = isa, .threads = threads};
  }
  std::filesystem::path path_;
};

// Around the window (16 in the tiny models), blocks (64) and chunks.
constexpr int64_t kLengths[] = {1, 2, 15, 16, 17, 63, 64, 65, 130, 200};
constexpr int64_t kChunks[] = {1, 2, 7, 63, 64, 65, 127, 128, 512};

TEST_P(ContractTest, ChunkedEqualsFullAtEveryChunkSize) {
  LoadedModel loaded(path_, options(2));
  const int64_t vocab_size = loaded.model->config().vocab_size;
  for (const int64_t length : kLengths) {
    const auto tokens = synthetic_prompt(length, vocab_size);
    const std::vector<float> expected = loaded.full(tokens).back();
    for (const int64_t chunk : kChunks) {
      ASSERT_EQ(loaded.chunked(tokens, chunk), expected)
          << length << " tokens, chunk " << chunk;
    }
  }
}

// Every position's logits in one pass equal those of the prefix ending there.
TEST_P(ContractTest, EveryPositionEqualsItsPrefix) {
  LoadedModel loaded(path_, options(2));
  const auto tokens = synthetic_prompt(90, loaded.model->config().vocab_size);
  const auto rows = loaded.full(tokens);
  for (size_t i = 0; i < rows.size(); i += 13) {
    ASSERT_EQ(loaded.chunked(std::span(tokens).first(i + 1), 16), rows[i])
        << "position " << i;
  }
}

TEST_P(ContractTest, DecodeEqualsPrefill) {
  LoadedModel loaded(path_, options(1));
  const auto tokens = synthetic_prompt(150, loaded.model->config().vocab_size);
  KvSequence sequence(loaded.cache);
  Workspace workspace(*loaded.backend, loaded.model->config());
  const auto rows = loaded.full(tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Matrix logits = prefill_chunked(*loaded.model, workspace, sequence,
                                          {&tokens[i], 1}, 128, {});
    ASSERT_EQ(loaded.row(logits, 0), rows[i]) << "position " << i;
  }
}

// Another prompt's prefill is cancelled between two parts of this one's; the
// second part then uses the blocks that it gave back.
TEST_P(ContractTest, ACancelledPrefillLeavesOthersAlone) {
  LoadedModel loaded(path_, options(2));
  Model& model = *loaded.model;
  const int64_t vocab_size = model.config().vocab_size;
  const auto tokens = synthetic_prompt(200, vocab_size, 3);
  const std::span<const int32_t> all(tokens);
  const auto others = synthetic_prompt(200, vocab_size, 4);
  constexpr int64_t kChunk = 32;
  const std::vector<float> expected = loaded.chunked(tokens, kChunk);
  Workspace workspace(*loaded.backend, model.config());
  for (const size_t first : {64, 96, 100}) {
    SCOPED_TRACE(first);
    KvSequence sequence(loaded.cache);
    prefill_chunked(model, workspace, sequence, all.first(first), kChunk, {});
    {
      KvSequence other(loaded.cache);
      int chunks = 0;
      const auto stop = [&](int64_t, int64_t) { return ++chunks < 3; };
      try {
        prefill_chunked(model, workspace, other, others, kChunk, stop);
        ADD_FAILURE() << "not cancelled";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCancelled);
      }
      EXPECT_EQ(chunks, 3);
    }
    const Matrix logits = prefill_chunked(model, workspace, sequence,
                                          all.subspan(first), kChunk, {});
    EXPECT_EQ(loaded.row(logits, 0), expected);
  }
}

TEST_P(ContractTest, RaggedBatchEqualsEachAlone) {
  LoadedModel loaded(path_, options(2));
  Model& model = *loaded.model;
  const int64_t vocab_size = model.config().vocab_size;
  const int64_t lengths[] = {1, 70, 17, 129, 5};
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<float>> alone;
  std::vector<std::unique_ptr<KvSequence>> sequences;
  for (size_t i = 0; i < std::size(lengths); ++i) {
    prompts.push_back(
        synthetic_prompt(lengths[i], vocab_size, static_cast<uint32_t>(i + 7)));
    alone.push_back(loaded.chunked(prompts[i], 33));
    sequences.push_back(std::make_unique<KvSequence>(loaded.cache));
  }
  Workspace workspace(*loaded.backend, model.config());
  // In two steps, so that the second starts at different positions: each
  // sequence's first third fills the cache, the rest wants its last logits.
  std::vector<BatchSequence> batch;
  std::vector<size_t> cuts;
  for (size_t i = 0; i < prompts.size(); ++i) {
    cuts.push_back(prompts[i].size() / 3);
    if (cuts[i] == 0) continue;
    batch.push_back({sequences[i].get(), std::span(prompts[i]).first(cuts[i]),
                     LogitsWanted::kNone});
  }
  model.forward(batch, workspace);
  batch.clear();
  for (size_t i = 0; i < prompts.size(); ++i) {
    batch.push_back({sequences[i].get(), std::span(prompts[i]).subspan(cuts[i]),
                     LogitsWanted::kLast});
  }
  const Matrix logits = model.forward(batch, workspace);
  ASSERT_EQ(logits.rows, static_cast<int64_t>(prompts.size()));
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(loaded.row(logits, static_cast<int64_t>(i)), alone[i])
        << "sequence " << i;
  }
}

TEST_P(ContractTest, ThreadsDoNotChangeABit) {
  std::vector<float> expected;
  for (const int threads : {1, 2, 3, 5}) {
    LoadedModel loaded(path_, options(threads));
    const auto tokens =
        synthetic_prompt(130, loaded.model->config().vocab_size);
    const std::vector<float> logits = loaded.chunked(tokens, 64);
    if (expected.empty()) expected = logits;
    EXPECT_EQ(logits, expected) << threads << " threads";
  }
}

TEST_P(ContractTest, InstructionSetsDoNotChangeABit) {
  if (GetParam().backend != "cpu") GTEST_SKIP() << "one instruction set only";
  std::vector<float> expected;
  for (const std::string_view isa : cpu::kIsaNames) {
    try {
      LoadedModel loaded(path_, options(2, std::string(isa)));
      const auto tokens =
          synthetic_prompt(130, loaded.model->config().vocab_size);
      const std::vector<float> logits = loaded.chunked(tokens, 50);
      if (expected.empty()) expected = logits;
      EXPECT_EQ(logits, expected) << isa;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
      std::cout << "not run here: " << isa << "\n";
    }
  }
}

TEST_P(ContractTest, WindowBlocksAreGivenBack) {
  LoadedModel loaded(path_, options(2));
  const auto tokens = synthetic_prompt(900, loaded.model->config().vocab_size);
  KvSequence sequence(loaded.cache);
  Workspace workspace(*loaded.backend, loaded.model->config());
  prefill_chunked(*loaded.model, workspace, sequence, tokens, 64, {});
  int64_t window = 0;
  for (const LayerConfig& layer : loaded.model->config().layers) {
    window = std::max(window, layer.sliding_window);
  }
  EXPECT_LE(loaded.cache.blocks_in_use(CacheKind::kWindow),
            window == 0 ? 0 : window / kBlockTokens + 2);
  EXPECT_EQ(loaded.cache.blocks_in_use(CacheKind::kFull), (900 + 63) / 64);
}

// Llama 3B's attention in miniature. Every few chunks the room for partial
// results grows in the middle of a pass; skips without a GPU.
TEST(CudaContractTest, GrowingPartialResultsDoNotChangeABit) {
  const BackendOptions options = {.name = "cuda", .threads = 2};
  std::string reason;
  if (!cuda_or_null(&reason)) GTEST_SKIP() << "no GPU here: " << reason;
  const SyntheticCheckpoint checkpoint({.name = "full attention",
                                        .hidden = 256,
                                        .layers = 4,
                                        .heads = 6,
                                        .kv_heads = 2,
                                        .head_dim = 128,
                                        .intermediate = 512,
                                        .window = 0,
                                        .global_factor = 1});
  const auto tokens = synthetic_prompt(1500, checkpoint.config().vocab_size);
  LoadedModel whole(checkpoint, options);
  const std::vector<float> expected = whole.chunked(tokens, 1500);
  for (const int64_t chunk : {64, 40, 7}) {
    LoadedModel loaded(checkpoint, options);  // whose room has yet to grow
    EXPECT_EQ(loaded.chunked(tokens, chunk), expected) << "chunks of " << chunk;
  }
}

// Hashes that x86-64 gave; every machine must find them. Only a change of
// docs/numerics.md may change them.
TEST(CpuContractTest, LogitsHaveTheBitsOfOtherArchitectures) {
  const std::pair<const char*, uint64_t> expected[] = {
      {"gemma3-mixed-types", 0x4698f6588a0db927},
      {"gemma3-q4_k_m", 0x63a9ea87e71dbc4d},
  };
  for (const auto& [name, hash] : expected) {
    const auto path = shared_data() / "tiny-gguf" / name / "model.gguf";
    if (!std::filesystem::exists(path)) {
      GTEST_SKIP() << "golden data is absent: " << path;
    }
    LoadedModel loaded(path, {.name = "cpu", .threads = 2});
    const auto tokens =
        synthetic_prompt(200, loaded.model->config().vocab_size);
    EXPECT_EQ(hash_of(loaded.chunked(tokens, 64)), hash) << name;
  }
}

constexpr const char* kMixedTypes = "tiny-gguf/gemma3-mixed-types/model.gguf";
constexpr const char* kLlama = "tiny-gguf/llama-q4_1/model.gguf";
constexpr const char* kQ4KM = "tiny-gguf/gemma3-q4_k_m/model.gguf";

INSTANTIATE_TEST_SUITE_P(
    Tiny, ContractTest,
    testing::Values(Setup{kMixedTypes, "reference"}, Setup{kMixedTypes, "cpu"},
                    Setup{kQ4KM, "cpu"}, Setup{kMixedTypes, "cuda"},
                    Setup{kQ4KM, "cuda"},
                    Setup{"tiny-gemma3/text-f32", "reference"},
                    Setup{"tiny-gemma3/text-f32", "cpu"},
                    Setup{"tiny-gemma3/mm-old-bf16", "cpu"},
                    Setup{"tiny-gemma3/untied-bf16", "cpu"},
                    Setup{"tiny-gemma3/sharded-f16", "cpu"},
                    Setup{"tiny-gemma3/mlx-4bit", "cpu"},
                    Setup{"tiny-gemma3/mlx-8bit", "cpu"},
                    Setup{"tiny-gemma3/mlx-4bit", "cuda"},
                    Setup{kLlama, "reference"}, Setup{kLlama, "cpu"},
                    Setup{kLlama, "cuda"},
                    Setup{"tiny-gemma3/llama-bf16", "cpu"}),
    [](const auto& test) {
      std::string name = test.param.model + "_" + test.param.backend;
      std::ranges::replace_if(
          name,
          [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) == 0;
          },
          '_');
      return name;
    });

}  // namespace
}  // namespace carat
