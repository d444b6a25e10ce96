// Chunks in lanes that run as late and as oddly as a backend may let them.
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "carat/error.h"
#include "generate/prefill.h"
#include "tests/generate/late_lanes.h"
#include "tests/model/tiny_model.h"

namespace carat {
namespace {

class PrefillLanesTest : public TinyModelTest,
                         public testing::WithParamInterface<const char*> {};

// The window is 16 and a block has 64 positions, so later chunks use blocks
// that the window has left.
TEST_P(PrefillLanesTest, AnyOrderGivesTheSameBits) {
  LoadedModel loaded(path_, {.name = GetParam(), .threads = 1});
  Model& model = *loaded.model;
  struct Prompt {
    int64_t tokens, chunk;
  };
  for (const auto& [length, chunk] : {Prompt{65, 16}, {200, 64}, {330, 40}}) {
    const auto tokens = synthetic_prompt(length, model.config().vocab_size);
    const auto expected = loaded.chunked(tokens, chunk);
    for (const uint32_t seed : {0, 1, 2, 3}) {  // 0: always the later chunk
      SCOPED_TRACE(std::to_string(length) + " tokens, chunk " +
                   std::to_string(chunk) + ", seed " + std::to_string(seed));
      LateLanes late(*loaded.backend);
      if (seed != 0) late.shuffle(seed);
      KvSequence sequence(loaded.cache);
      Workspace workspace(late, model.config());
      const Matrix logits =
          prefill_chunked(model, workspace, sequence, tokens, chunk, {});
      ASSERT_EQ(loaded.row(logits, 0), expected);
      ASSERT_GT(late.overtakings(), 0);
    }
  }
}

// A caller may free what a cancelled prefill worked with.
TEST_P(PrefillLanesTest, ACancelledPrefillLeavesNothingToRun) {
  LoadedModel loaded(path_, {.name = GetParam(), .threads = 1});
  Model& model = *loaded.model;
  const auto tokens = synthetic_prompt(200, model.config().vocab_size, 3);
  const auto others = synthetic_prompt(200, model.config().vocab_size, 4);
  const auto expected = loaded.chunked(tokens, 32);
  LateLanes late(*loaded.backend);
  Workspace workspace(late, model.config());
  KvSequence sequence(loaded.cache);
  const std::span<const int32_t> all(tokens);
  prefill_chunked(model, workspace, sequence, all.first(96), 32, {});
  {
    KvSequence other(loaded.cache);
    int chunks = 0;
    const auto stop = [&](int64_t, int64_t) { return ++chunks < 2; };
    EXPECT_THROW(prefill_chunked(model, workspace, other, others, 32, stop),
                 Error);
    EXPECT_EQ(chunks, 2);
    EXPECT_TRUE(late.is_idle());
  }
  const Matrix logits =
      prefill_chunked(model, workspace, sequence, all.subspan(96), 32, {});
  EXPECT_EQ(loaded.row(logits, 0), expected);
}

INSTANTIATE_TEST_SUITE_P(Tiny, PrefillLanesTest,
                         testing::Values("reference", "cpu"),
                         [](const auto& test) {
                           return std::string(test.param);
                         });

}  // namespace
}  // namespace carat
