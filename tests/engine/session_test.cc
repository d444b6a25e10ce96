// The public API on a tiny model: errors, cancellation, generation.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "carat/engine.h"
#include "tests/model/loaded_model.h"

namespace carat {
namespace {

class SessionTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto path =
        shared_data() / "tiny-gguf" / "gemma3-mixed-types" / "model.gguf";
    if (!std::filesystem::exists(path)) {
      GTEST_SKIP() << "golden data is absent: " << path;
    }
    EngineOptions options;
    options.threads = 2;
    options.context_tokens = 300;
    engine_ = Engine::load(path, options);
  }

  std::vector<int32_t> prompt(int64_t count) const {
    return synthetic_prompt(count, engine_->config().vocab_size);
  }
  static std::vector<float> copy(std::span<const float> logits) {
    return {logits.begin(), logits.end()};
  }
  static ErrorCode code_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::kDevice;
  }

  std::unique_ptr<Engine> engine_;
};

TEST_F(SessionTest, PrefillModesAndChunksAgree) {
  const auto tokens = prompt(150);
  Session session(*engine_);
  PrefillOptions full;
  full.mode = PrefillMode::kFull;
  const auto expected = copy(session.prefill(tokens, full));
  EXPECT_EQ(session.position(), 150);
  for (const std::optional<int64_t> chunk :
       {std::optional<int64_t>(), std::optional<int64_t>(1),
        std::optional<int64_t>(50), std::optional<int64_t>(INT64_MAX)}) {
    session.reset();
    PrefillOptions options;
    options.chunk_tokens = chunk;
    EXPECT_EQ(copy(session.prefill(tokens, options)), expected);
  }
}

TEST_F(SessionTest, APromptInPartsEqualsTheWhole) {
  const auto tokens = prompt(200);
  Session whole(*engine_), parts(*engine_);
  const auto expected = copy(whole.prefill(tokens));
  parts.prefill(std::span(tokens).first(77));
  parts.decode(tokens[77]);
  EXPECT_EQ(copy(parts.prefill(std::span(tokens).subspan(78))), expected);
}

TEST_F(SessionTest, AllLogitsEqualEachPrefix) {
  const auto tokens = prompt(70);
  Session session(*engine_);
  std::vector<std::vector<float>> rows;
  PrefillOptions options;
  options.chunk_tokens = 30;
  session.all_logits(tokens, options, [&](int64_t i, auto logits) {
    EXPECT_EQ(i, static_cast<int64_t>(rows.size()));
    rows.push_back(copy(logits));
  });
  ASSERT_EQ(rows.size(), tokens.size());
  for (size_t i = 0; i < rows.size(); i += 23) {
    Session other(*engine_);
    EXPECT_EQ(copy(other.prefill(std::span(tokens).first(i + 1))), rows[i]);
  }
}

TEST_F(SessionTest, RefusesWhatItCannotRun) {
  Session session(*engine_);
  const auto vocab_size = static_cast<int32_t>(engine_->config().vocab_size);
  const auto invalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code_of([&] { session.prefill({}); }), invalid);
  EXPECT_EQ(code_of([&] { session.decode(vocab_size); }), invalid);
  EXPECT_EQ(code_of([&] { session.decode(-1); }), invalid);
  EXPECT_EQ(code_of([&] { session.prefill(prompt(301)); }), invalid);
  PrefillOptions options;
  options.chunk_tokens = 0;
  EXPECT_EQ(code_of([&] { session.prefill(prompt(3), options); }), invalid);
  GenerateOptions generate;
  generate.max_tokens = 0;
  EXPECT_EQ(code_of([&] { session.generate(prompt(3), generate); }), invalid);
  EXPECT_EQ(session.position(), 0);
}

TEST_F(SessionTest, ProgressRunsToTheEndAndCanCancel) {
  const auto tokens = prompt(260);
  Session session(*engine_);
  std::vector<int64_t> seen;
  PrefillOptions options;
  options.chunk_tokens = 64;
  options.on_progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 260);
    seen.push_back(done);
    return true;
  };
  const auto expected = copy(session.prefill(tokens, options));
  EXPECT_EQ(seen, (std::vector<int64_t>{64, 128, 192, 256, 260}));

  session.reset();
  options.on_progress = [](int64_t done, int64_t) { return done < 128; };
  EXPECT_EQ(code_of([&] { session.prefill(tokens, options); }),
            ErrorCode::kCancelled);
  // The finished chunks stay, with those that were at work on a GPU, and can be
  // built upon.
  const int64_t kept = session.position();
  EXPECT_GE(kept, 128);
  EXPECT_LE(kept, engine_->backend_name().starts_with("cpu") ? 128 : 256);
  EXPECT_EQ(kept % 64, 0);
  EXPECT_EQ(copy(session.prefill(
                std::span(tokens).subspan(static_cast<size_t>(kept)))),
            expected);
}

TEST_F(SessionTest, GenerationStopsAtTheLimitAndAtTheContext) {
  Session session(*engine_);
  GenerateOptions options;
  options.max_tokens = 5;
  options.ignore_eos = true;
  const GenerateResult result = session.generate(prompt(20), options);
  EXPECT_EQ(result.tokens.size(), 5u);
  EXPECT_EQ(result.finish_reason, FinishReason::kMaxTokens);
  EXPECT_EQ(result.stats.prompt_tokens, 20);
  EXPECT_EQ(result.stats.generated_tokens, 5);
  EXPECT_EQ(result.first_logits.size(),
            static_cast<size_t>(engine_->config().vocab_size));

  session.reset();
  options.max_tokens = 1000;
  const GenerateResult long_result = session.generate(prompt(290), options);
  EXPECT_EQ(long_result.finish_reason, FinishReason::kContextFull);
  EXPECT_EQ(long_result.tokens.size(), 11u);
}

TEST_F(SessionTest, SeededSamplingDoesNotDependOnTheChunk) {
  GenerateOptions options;
  options.max_tokens = 20;
  options.ignore_eos = true;
  options.sampling = {.temperature = 1.2, .top_k = 40, .seed = 3};
  std::vector<int32_t> expected;
  for (const int64_t chunk : {1, 16, 64, 1000}) {
    options.prefill.chunk_tokens = chunk;
    Session session(*engine_);
    const auto tokens = session.generate(prompt(100), options).tokens;
    if (expected.empty()) expected = tokens;
    EXPECT_EQ(tokens, expected) << "chunk " << chunk;
  }
}

TEST_F(SessionTest, OnTextCanEndAGeneration) {
  GenerateOptions options;
  options.max_tokens = 50;
  options.ignore_eos = true;
  int calls = 0;
  options.on_text = [&](const std::string&) { return ++calls < 3; };
  Session session(*engine_);
  const GenerateResult result = session.generate(prompt(10), options);
  EXPECT_EQ(result.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(calls, 3);
}

TEST_F(SessionTest, TransientMemoryIsBoundedByTheChunk) {
  Session session(*engine_);
  PrefillOptions options;
  options.chunk_tokens = 32;
  session.prefill(prompt(64), options);
  const int64_t short_prompt = session.transient_bytes();
  session.reset();
  session.prefill(prompt(290), options);
  EXPECT_EQ(session.transient_bytes(), short_prompt);
}

TEST_F(SessionTest, SessionsDoNotDisturbEachOther) {
  const auto tokens = prompt(120);
  Session alone(*engine_);
  const auto expected = copy(alone.prefill(tokens));
  Session a(*engine_), b(*engine_);
  a.prefill(std::span(tokens).first(60));
  b.prefill(prompt(90));
  b.decode(5);
  EXPECT_EQ(copy(a.prefill(std::span(tokens).subspan(60))), expected);
}

}  // namespace
}  // namespace carat
