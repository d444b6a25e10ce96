#include "generate/prefill.h"

#include <gtest/gtest.h>

#include "carat/error.h"

namespace carat {
namespace {

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
