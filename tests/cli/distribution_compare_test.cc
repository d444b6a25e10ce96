#include "cli/distribution_compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace carat::cli {
namespace {

TEST(DistributionCompareTest, KlIsThatOfTheDefinition) {
  const std::vector<float> p = {std::log(0.5f), std::log(0.25f),
                                std::log(0.25f)};
  // A constant added to all logits changes nothing.
  const std::vector<float> q = {3 + std::log(0.25f), 3 + std::log(0.25f),
                                3 + std::log(0.5f)};
  EXPECT_NEAR(kl_divergence(p, q), 0.5 * std::log(2.) + 0.25 * std::log(0.5),
              1e-6);
  EXPECT_NEAR(kl_divergence(p, p), 0, 1e-12);
  const PositionCompare position = compare_position(p, q, 2);
  EXPECT_NEAR(position.reference_nll, std::log(4.), 1e-6);
  EXPECT_NEAR(position.nll, std::log(2.), 1e-6);
  EXPECT_FALSE(position.same_top);
  EXPECT_TRUE(compare_position(p, p, 0).same_top);
}

TEST(DistributionCompareTest, FarTailsAreHarmless) {
  const std::vector<float> p = {0, -1000}, q = {-1000, 0};
  EXPECT_NEAR(kl_divergence(p, q), 1000, 1e-6);
}

TEST(DistributionCompareTest, SummaryHasQuantilesOfAllPositions) {
  std::vector<PositionCompare> positions(101);
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i].kl = static_cast<double>((i * 37) % 101);
    positions[i].same_top = i % 2 == 0;
  }
  const CompareSummary summary = summarize(positions);
  EXPECT_DOUBLE_EQ(summary.kl_mean, 50);
  EXPECT_DOUBLE_EQ(summary.kl_median, 50);
  EXPECT_DOUBLE_EQ(summary.kl_p99, 99);
  EXPECT_DOUBLE_EQ(summary.kl_max, 100);
  EXPECT_DOUBLE_EQ(summary.same_top, 51. / 101);
}

}  // namespace
}  // namespace carat::cli
