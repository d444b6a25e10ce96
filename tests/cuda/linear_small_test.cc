// How few rows are cut: within any device's shared memory.
#include "backend/cuda/linear_small.h"

#include <gtest/gtest.h>

#include "backend/cuda/packing.h"

namespace carat::cuda {
namespace {

// Per thread block of 8.6, 8.0 and 9.0; a kernel may not ask for more.
constexpr int kLimits[] = {101376, 166912, 232448};

TEST(SmallLayout, FitsSharedMemory) {
  for (const int limit : kLimits) {
    for (const int64_t cols : {64, 4096, 4097, 5120, 10240, 21504}) {
      for (const QuantizedLayout& layout :
           {QuantizedLayout{4, 32, 8, false}, QuantizedLayout{4, 32, 0, true},
            QuantizedLayout{8, 32, 128, false},
            QuantizedLayout{8, 16, 0, true}}) {
        LinearCall call = {};
        call.piece_count = 2;
        call.pieces[0].weight = call.pieces[1].weight =
            plan_tiles(13824, cols, layout);
        call.input.k_tiles = call.pieces[0].weight.k_tiles;
        for (const int halves : {1, 2}) {
          for (const int rows : {1, 8, 16}) {
            for (const int parts : {1, 4}) {
              SCOPED_TRACE(testing::Message()
                           << limit << " bytes, K " << cols << ", "
                           << layout.bits << " bits, halves " << halves << ", "
                           << rows << " rows, parts " << parts);
              call.rows = rows;
              call.parts = parts;
              const SmallLayout cut = small_layout(call, halves, 8, limit);
              EXPECT_LE(cut.bytes, limit);
              EXPECT_GE(cut.warps, 1);
              EXPECT_LE(cut.warps, kMostWarps);
              EXPECT_GE(cut.per_block * parts, cut.ranges);
            }
          }
        }
      }
    }
  }
}

// With room enough every range of a short K has its warp.
TEST(SmallLayout, TakesTheWarpsThatThereIsRoomFor) {
  LinearCall call = {};
  call.piece_count = 1;
  call.parts = 1;
  call.rows = 1;
  call.pieces[0].weight = plan_tiles(2560, 2560, {4, 32, 8, false});
  call.input.k_tiles = call.pieces[0].weight.k_tiles;
  EXPECT_EQ(small_layout(call, 1, 8, kLimits[2]).warps, 5);
  EXPECT_EQ(small_layout(call, 1, 8, 1).warps, 1);
}

TEST(SmallParts, GiveEveryRangeAWarpAtOnceIfTheyCan) {
  DeviceTraits device;
  EXPECT_EQ(best_small_parts(device, 10), 1) << "without clusters";
  device.has_clusters = true;
  for (int ranges = 1; ranges <= 48; ++ranges) {
    SCOPED_TRACE(ranges);
    const int parts = best_small_parts(device, ranges);
    EXPECT_LE(parts, 8);
    if (ranges <= 8 * kMostWarps) {
      EXPECT_LE((ranges + parts - 1) / parts, kMostWarps);
    }
    if (parts > 1) {
      EXPECT_GT((ranges + parts / 2 - 1) / (parts / 2), kMostWarps)
          << "no more than needed";
    }
  }
}

}  // namespace
}  // namespace carat::cuda
