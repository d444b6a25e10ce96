#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "carat/error.h"

namespace carat {
namespace {

const std::vector<float> kLogits = {0.0f, 2.0f, 1.0f, -1.0f, 1.9f};

std::map<int32_t, int> draw(const SamplingOptions& options, int count) {
  Sampler sampler(options);
  std::map<int32_t, int> counts;
  for (int i = 0; i < count; ++i) ++counts[sampler.sample(kLogits, {}, i)];
  return counts;
}

TEST(SamplerTest, GreedyTakesTheBestAndTheLowestIdOnATie) {
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(kLogits, {}, 0), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 3}, {}, 0), 1);
}

TEST(SamplerTest, GreedyPassesOverNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(std::vector<float>{nan, 3, nan}, {}, 0), 1);
}

TEST(SamplerTest, AllNaNStillGivesATokenOfTheVocabulary) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler({.temperature = temperature});
    const int32_t id = sampler.sample(std::vector<float>{nan, nan}, {}, 0);
    EXPECT_TRUE(id == 0 || id == 1);
  }
}

TEST(SamplerTest, FrequenciesFollowTheSoftmax) {
  constexpr int kDraws = 20000;
  const auto counts = draw({.temperature = 0.7, .seed = 5}, kDraws);
  double total = 0;
  for (const float logit : kLogits) total += std::exp(logit / 0.7);
  for (size_t id = 0; id < kLogits.size(); ++id) {
    const double p = std::exp(kLogits[id] / 0.7) / total;
    const double deviation = std::sqrt(p * (1 - p) / kDraws);
    const auto it = counts.find(static_cast<int32_t>(id));
    const int count = it == counts.end() ? 0 : it->second;
    EXPECT_NEAR(count / static_cast<double>(kDraws), p, 5 * deviation) << id;
  }
}

TEST(SamplerTest, TheDrawDependsOnSeedAndPositionAlone) {
  const SamplingOptions options{.temperature = 1, .seed = 42};
  Sampler a(options), b(options);
  std::vector<int32_t> forward, backward(50);
  for (int i = 0; i < 50; ++i) forward.push_back(a.sample(kLogits, {}, i));
  for (int i = 49; i >= 0; --i) backward[i] = b.sample(kLogits, {}, i);
  EXPECT_EQ(forward, backward);
  Sampler other({.temperature = 1, .seed = 43});
  std::vector<int32_t> different;
  for (int i = 0; i < 50; ++i)
    different.push_back(other.sample(kLogits, {}, i));
  EXPECT_NE(forward, different);
}

std::set<int32_t> drawn(const SamplingOptions& options) {
  std::set<int32_t> ids;
  for (const auto& [id, count] : draw(options, 3000)) ids.insert(id);
  return ids;
}

TEST(SamplerTest, TopKKeepsTheBest) {
  EXPECT_EQ(drawn({.temperature = 2, .top_k = 1}), (std::set<int32_t>{1}));
  EXPECT_EQ(drawn({.temperature = 2, .top_k = 3}),
            (std::set<int32_t>{1, 4, 2}));
  EXPECT_EQ(drawn({.temperature = 2, .top_k = 99}).size(), 5u);
}

// Probabilities at temperature 1: about .40 .36 .15 .05 .02 (ids 1 4 2 0 3).
TEST(SamplerTest, TopPKeepsTheSmallestSufficientSet) {
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.3}), (std::set<int32_t>{1}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.7}), (std::set<int32_t>{1, 4}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.8}),
            (std::set<int32_t>{1, 4, 2}));
}

TEST(SamplerTest, MinPIsAShareOfTheMostLikely) {
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 0.5}), (std::set<int32_t>{1, 4}));
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 1}), (std::set<int32_t>{1}));
}

TEST(SamplerTest, RepeatPenaltyLooksAtTheLast64) {
  Sampler sampler({.repeat_penalty = 2});
  EXPECT_EQ(sampler.sample(kLogits, std::vector<int32_t>{1}, 0), 4);
  // Negative logits are multiplied: -1 becomes -2.
  const std::vector<float> negative = {-1.0f, -1.5f};
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{0}, 0), 1);
  std::vector<int32_t> history(65, 3);
  history[0] = 1;
  EXPECT_EQ(sampler.sample(kLogits, history, 0), 1);
}

TEST(SamplerTest, RefusesOptionsOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = -1}, SamplingOptions{.temperature = nan},
        SamplingOptions{.top_k = -1}, SamplingOptions{.top_p = 0},
        SamplingOptions{.top_p = 1.5}, SamplingOptions{.min_p = -0.1},
        SamplingOptions{.min_p = nan}, SamplingOptions{.repeat_penalty = 0}}) {
    EXPECT_THROW(Sampler{options}, Error);
  }
}

}  // namespace
}  // namespace carat
