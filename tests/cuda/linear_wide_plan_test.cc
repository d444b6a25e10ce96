// How many rows are cut: every output once, whatever is chosen.
#include "backend/cuda/linear_wide_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/linear_wide.h"
#include "backend/cuda/packing.h"
#include "tests/cuda/wide_call.h"

namespace carat::cuda {
namespace {

constexpr int64_t kRoom = int64_t{64} << 20;

TEST(WideCut, GivesEveryTileOnce) {
  for (const int64_t cols : {512, 1088, 10240}) {
    for (const int rows : {33, 128, 200}) {
      for (const int width : kWidths) {
        for (const bool gated : {false, true}) {
          LinearCall call = wide_call(rows, 328, cols);
          const int ranges = range_count(call.input.k_tiles);
          for (call.k_parts = 1; call.k_parts <= (gated ? 1 : ranges);
               ++call.k_parts) {
            SCOPED_TRACE(testing::Message()
                         << cols << " columns, " << rows << " rows, width "
                         << width << ", parts " << call.k_parts);
            const WideCut cut(call, width, gated);
            const int pairs = gated ? call.tile_count : 3;
            const int k_tiles = call.input.k_tiles;
            std::vector<int> seen(
                static_cast<size_t>(pairs * cut.columns * k_tiles));
            for (int i = 0; i < cut.works; ++i) {
              const WideWork work = cut.at(call, i);
              ASSERT_LT(work.pair, pairs);
              ASSERT_LT(work.row, rows);
              ASSERT_EQ(work.row % width, 0);
              ASSERT_LE(work.end, k_tiles);
              // Ranges are never shared.
              ASSERT_EQ(work.begin % range_tiles(k_tiles), 0);
              for (int k = work.begin; k < work.end; ++k) {
                ++seen[static_cast<size_t>(
                    (work.pair * cut.columns + work.row / width) * k_tiles +
                    k)];
              }
            }
            EXPECT_TRUE(std::all_of(seen.begin(), seen.end(),
                                    [](int count) { return count == 1; }));
          }
        }
      }
    }
  }
}

TEST(WidePlan, SharesALongKWhereOutputsAreFew) {
  for (const int rows : {64, 65, 128}) {
    SCOPED_TRACE(rows);
    const LinearCall down = wide_call(rows, 2560, 10240);
    const WidePlan plan = plan_wide(h100(), down, false, kRoom);
    EXPECT_GE(plan.width, rows);
    EXPECT_GE(plan.k_parts, 5);
    EXPECT_LE(plan.k_parts, 6);
    EXPECT_EQ(plan.partial_bytes, int64_t{slots_of(10, plan.k_parts)} * rows *
                                      down.pieces[0].weight.rows * 4);
    // Not without room, not a gate and an up, not several weights.
    EXPECT_EQ(plan_wide(h100(), down, false, 0).k_parts, 1);
    EXPECT_EQ(plan_wide(h100(), down, true, kRoom).k_parts, 1);
    LinearCall several = down;
    several.piece_count = 2;
    EXPECT_EQ(plan_wide(h100(), several, false, kRoom).k_parts, 1);
  }
}

TEST(WidePlan, FillsTheDeviceInWholeRounds) {
  // 32 pairs of tiles: four columns.
  LinearCall several = wide_call(128, 4096, 2560);
  several.piece_count = 3;
  EXPECT_EQ(plan_wide(h100(), several, false, kRoom).width, 32);
  // 160 tiles: two rounds of one column are better than three of two.
  EXPECT_EQ(plan_wide(h100(), wide_call(128, 10240, 2560), true, kRoom).width,
            128);
  // Four columns, five rounds.
  EXPECT_EQ(plan_wide(h100(), wide_call(577, 10240, 2560), true, kRoom).width,
            152);
}

TEST(WidePlan, TakesLessOfTheDeviceBesideAnotherChunk) {
  // A K in fewer parts, tiles that are wider: codes are expanded less often.
  const LinearCall down = wide_call(128, 2560, 10240);
  EXPECT_LT(plan_wide(h100(), down, false, kRoom, true).k_parts,
            plan_wide(h100(), down, false, kRoom, false).k_parts);
  const LinearCall o = wide_call(128, 2560, 2048);
  EXPECT_GT(plan_wide(h100(), o, false, kRoom, true).width,
            plan_wide(h100(), o, false, kRoom, false).width);
}

TEST(WidePlans, RememberWhatPlanWideSays) {
  WidePlans plans(h100(), kRoom);
  for (int round = 0; round < 2; ++round) {
    for (int rows = 33; rows < 133; ++rows) {
      const LinearCall call = wide_call(rows, 2560, 10240);
      const WidePlan plan = plans.of(call, false);
      const WidePlan expected = plan_wide(h100(), call, false, kRoom);
      EXPECT_EQ(plan.width, expected.width);
      EXPECT_EQ(plan.k_parts, expected.k_parts);
      EXPECT_EQ(plan.partial_bytes, expected.partial_bytes);
      // The same outputs, but gated.
      EXPECT_EQ(plans.of(call, true).k_parts, 1);
    }
  }
}

}  // namespace
}  // namespace carat::cuda
