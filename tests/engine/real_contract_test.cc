// The contract on the real 270M (window 512), as bytes: last-position logits
// and greedy tokens for chunk sizes, modes, threads, instruction sets and
// prompt lengths around the window.
#include <algorithm>
#include <iostream>
#include <map>

#include "backend/cpu/isa.h"
#include "carat/engine.h"
#include "tests/cuda_device.h"
#include "tests/engine/real_model.h"

namespace carat {
namespace {

struct Answer {
  std::vector<float> logits;
  std::vector<int32_t> greedy;

  bool operator==(const Answer&) const = default;
};

constexpr int64_t kWhole = INT64_MAX;

class RealContractTest : public RealModelTest {
 protected:
  static std::unique_ptr<Engine> load(
      const std::string& isa, int threads,
      const std::filesystem::path& path = real_model_path()) {
    EngineOptions options;
    options.backend = "cpu";
    options.isa = isa;
    options.threads = threads;
    return Engine::load(path, options);
  }

  // Ordinary ids: of a text that never repeats itself.
  static std::vector<int32_t> prompt(const Engine& engine, int64_t length) {
    std::string text;
    for (int64_t line = 1; line <= length; ++line) {
      text += "Line " + std::to_string(line * line) + " of a long letter.\n";
    }
    std::vector<int32_t> tokens = engine.tokenizer().encode(text);
    tokens.resize(static_cast<size_t>(length));
    return tokens;
  }

  static Answer answer(Engine& engine, int64_t length, PrefillMode mode,
                       int64_t chunk) {
    GenerateOptions options;
    options.prefill.mode = mode;
    options.prefill.chunk_tokens = chunk;
    options.max_tokens = 6;
    options.ignore_eos = true;
    Session session(engine);
    GenerateResult result = session.generate(prompt(engine, length), options);
    return {std::move(result.first_logits), std::move(result.tokens)};
  }

  static void expect_one_answer_at_every_length(Engine& engine) {
    for (const int64_t length : {1, 2, 511, 512, 513, 577, 1025, 1600}) {
      const Answer expected =
          answer(engine, length, PrefillMode::kFull, kWhole);
      for (const int64_t chunk :
           {int64_t{1}, int64_t{2}, int64_t{7}, int64_t{63}, int64_t{64},
            int64_t{65}, int64_t{127}, int64_t{128}, int64_t{512}, int64_t{513},
            kWhole}) {
        ASSERT_TRUE(answer(engine, length, PrefillMode::kChunked, chunk) ==
                    expected)
            << length << " tokens, chunk " << chunk;
      }
    }
  }
};

TEST_F(RealContractTest, SlowEveryChunkSizeAndModeAtEveryLength) {
  const auto engine = load("auto", 2);
  expect_one_answer_at_every_length(*engine);
}

TEST_F(RealContractTest, CudaEveryChunkSizeAndModeAtEveryLength) {
  std::string reason;
  if (!cuda_or_null(&reason)) GTEST_SKIP() << "no GPU here: " << reason;
  EngineOptions options;
  options.backend = "cuda";
  const auto engine = Engine::load(real_model_path(), options);
  expect_one_answer_at_every_length(*engine);
}

TEST_F(RealContractTest, LlamaLikewise) {
  if (!std::filesystem::exists(real_llama_path())) {
    GTEST_SKIP() << "the real SmolLM2 is absent: " << real_llama_path();
  }
  const auto engine = load("auto", 2, real_llama_path());
  const auto one = load("auto", 1, real_llama_path());
  for (const int64_t length : {1, 65, 200}) {
    const Answer expected = answer(*engine, length, PrefillMode::kFull, kWhole);
    for (const int64_t chunk : {int64_t{7}, int64_t{64}, kWhole}) {
      EXPECT_TRUE(answer(*engine, length, PrefillMode::kChunked, chunk) ==
                  expected)
          << length << " tokens, chunk " << chunk;
    }
    EXPECT_TRUE(answer(*one, length, PrefillMode::kChunked, 100) == expected)
        << length << " tokens, one thread";
  }
}

TEST_F(RealContractTest, SlowThreadsAndInstructionSets) {
  const auto best = load("auto", 2);
  std::map<int64_t, Answer> expected;
  for (const int64_t length : {1, 2, 513, 577, 1025}) {
    expected[length] = answer(*best, length, PrefillMode::kChunked, 128);
  }
  for (const std::string_view isa : cpu::kIsaNames) {
    for (const int threads : {1, 2}) {
      std::unique_ptr<Engine> engine;
      try {
        engine = load(std::string(isa), threads);
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
        std::cout << "not run here: " << isa << "\n";
        break;
      }
      // Emulated arithmetic is slow: one length beyond the window will do.
      const bool is_slow = isa == "portable";
      for (const auto& [length, answer_there] : expected) {
        if (is_slow && length > 513) continue;
        const int64_t chunk = length % 2 == 0 ? 65 : 200;
        EXPECT_TRUE(answer(*engine, length, PrefillMode::kChunked, chunk) ==
                    answer_there)
            << isa << ", " << threads << " threads, " << length << " tokens";
        if (is_slow || length > 600) continue;
        EXPECT_TRUE(answer(*engine, length, PrefillMode::kFull, kWhole) ==
                    answer_there)
            << isa << ", " << threads << " threads, " << length
            << " tokens, full";
      }
    }
  }
}

// Transient memory is bounded by the chunk, KV of sliding layers by the window.
TEST_F(RealContractTest, MemoryDoesNotFollowThePrompt) {
  const auto engine = load("auto", 2);
  PrefillOptions options;
  options.chunk_tokens = 128;
  Session session(*engine);
  session.prefill(prompt(*engine, 600), options);
  const int64_t transient = session.transient_bytes();
  const int64_t kv = session.kv_bytes();
  session.reset();
  session.prefill(prompt(*engine, 1800), options);
  EXPECT_EQ(session.transient_bytes(), transient);
  // 3 of 18 layers see everything: 1,200 more positions, keys and values of
  // 256 numbers in 2 bytes.
  const int64_t global_bytes = int64_t{3} * 1200 * 2 * 256 * 2;
  EXPECT_LE(session.kv_bytes() - kv, global_bytes + global_bytes / 4);
}

}  // namespace
}  // namespace carat
