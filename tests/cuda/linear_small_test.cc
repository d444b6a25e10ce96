// How calls of few rows are cut: within any device's shared memory, among
// thread blocks, and in turns.
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
              const int tile_rows = rows == 1 ? 1 : 8;
              const SmallLayout cut =
                  small_layout(call, halves, tile_rows, limit);
              EXPECT_LE(cut.bytes, limit);
              EXPECT_GE(cut.warps, 1);
              EXPECT_LE(cut.warps, most_warps(halves));
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

// An H100.
DeviceTraits hopper() {
  DeviceTraits device;
  device.processors = 132;
  device.overlaps = device.has_clusters = true;
  device.shared_bytes = kLimits[2];
  return device;
}
LinearCall call_of(int64_t outputs, int64_t cols) {
  LinearCall call = {};
  call.piece_count = 1;
  call.rows = 1;
  call.pieces[0].weight = plan_tiles(outputs, cols, {4, 32, 8, false});
  call.input.k_tiles = call.pieces[0].weight.k_tiles;
  call.tile_count = static_cast<int32_t>((outputs + 63) / kTileRows);
  return call;
}

TEST(SmallParts, GiveEveryRangeAWarpAtOnceIfTheyCan) {
  constexpr int64_t kMany = 16000;
  DeviceTraits device = hopper();
  for (const int halves : {1, 2}) {
    const int most = most_warps(halves);
    for (int ranges = 5; ranges <= 96; ++ranges) {
      SCOPED_TRACE(testing::Message() << halves << ", " << ranges);
      const LinearCall call = call_of(kMany, ranges * 1024);
      const int parts = best_small_parts(device, call, halves);
      EXPECT_LE(parts, 8);
      if (ranges <= 8 * most) {
        EXPECT_LE((ranges + parts - 1) / parts, most);
      }
      if (parts > 1) {
        EXPECT_GT((ranges + parts / 2 - 1) / (parts / 2), most)
            << "no more than needed";
      }
    }
  }
  device.has_clusters = false;
  EXPECT_EQ(best_small_parts(device, call_of(kMany, 96 * 1024), 1), 1);
}

TEST(SmallParts, AreMoreWhereSlicesAreFewOrRowsTakeRoom) {
  const DeviceTraits device = hopper();
  // The 1B's and the 4B's longest.
  EXPECT_EQ(best_small_parts(device, call_of(1152, 6912), 1), 2);
  LinearCall call = call_of(2560, 10240);
  EXPECT_EQ(best_small_parts(device, call, 1), 1);
  call.rows = 8;  // their activations take room
  EXPECT_EQ(best_small_parts(device, call, 1), 2);
}

TEST(SmallTurns, AreTakenWhereSlicesAreMany) {
  const DeviceTraits device = hopper();
  const auto cut = [&](int64_t outputs, int at_once, SmallLayout& layout) {
    const LinearCall call = call_of(outputs, 2560);
    layout = small_layout(call, 1, 1, device.shared_bytes);
    return take_turns(device, call, 1, at_once, layout);
  };
  SmallLayout layout;
  EXPECT_FALSE(cut(2560, 528, layout));
  EXPECT_EQ(layout.at_once, 160);
  EXPECT_FALSE(cut(4 * 528 * kSliceRows, 528, layout)) << "four turns";
  EXPECT_TRUE(cut(262144, 528, layout));
  EXPECT_EQ(layout.at_once, 528);
  EXPECT_EQ(layout.kept, 8);
  EXPECT_LE(4 * (layout.bytes + 1024), device.shared_bytes + 1024)
      << "what is kept costs no thread block";
  // Whole tiles, so that the next slice of a thread block lies like its first.
  EXPECT_TRUE(cut(262144, 527, layout));
  EXPECT_EQ(layout.at_once, 524);
  EXPECT_FALSE(cut(262144, 3, layout)) << "no tile at once";
}

TEST(SmallTurns, NeedAllRangesAtWork) {
  const DeviceTraits device = hopper();
  const LinearCall call = call_of(262144, 21504);
  SmallLayout layout = small_layout(call, 1, 1, device.shared_bytes);
  ASSERT_LT(layout.warps, layout.per_block);
  EXPECT_FALSE(take_turns(device, call, 1, 528, layout));
}

TEST(SmallTurns, KeepWithinSharedMemory) {
  for (const int limit : kLimits) {
    DeviceTraits device = hopper();
    device.shared_bytes = limit;
    for (const int halves : {1, 2}) {
      for (const int tile_rows : {1, 8, 16}) {
        LinearCall call = call_of(262144, 2560);
        call.rows = tile_rows;
        call.parts = best_small_parts(device, call, halves);
        SmallLayout layout = small_layout(call, halves, tile_rows, limit);
        const int at_once =
            slices_at_once(device, call, halves, tile_rows, layout);
        take_turns(device, call, halves, at_once, layout);
        EXPECT_LE(layout.bytes, limit) << halves << ", " << tile_rows;
      }
    }
  }
}

// What linear_turns_test.cc runs, on an H100 like this, and whether in more
// turns than are kept.
TEST(SmallTurns, AreTakenByTheirTests) {
  struct Case {
    int64_t outputs, cols;
    int bits, halves, parts;
    bool are_more;
  };
  const DeviceTraits device = hopper();
  for (const Case& c :
       {Case{84790, 576, 4, 1, 1, true}, Case{42390, 576, 4, 2, 1, false},
        Case{42390, 576, 8, 2, 1, false}, Case{84790, 832, 4, 1, 1, true},
        Case{33990, 4160, 4, 1, 1, true}, Case{8590, 4160, 4, 2, 1, false},
        Case{33990, 4800, 4, 1, 1, true}, Case{8590, 9280, 4, 2, 2, false},
        Case{17990, 9280, 4, 2, 2, true}}) {
    SCOPED_TRACE(testing::Message() << c.outputs << " x " << c.cols);
    LinearCall call = call_of(c.outputs, c.cols);
    call.pieces[0].weight =
        plan_tiles(c.outputs, c.cols, {c.bits, 32, 8, false});
    call.piece_count = c.halves;
    call.pieces[c.halves - 1].weight = call.pieces[0].weight;
    call.parts = best_small_parts(device, call, c.halves);
    EXPECT_EQ(call.parts, c.parts);
    SmallLayout layout = small_layout(call, c.halves, 1, device.shared_bytes);
    const int at_once = slices_at_once(device, call, c.halves, 1, layout);
    EXPECT_TRUE(take_turns(device, call, c.halves, at_once, layout));
    EXPECT_EQ(call.tile_count * kSlices > layout.kept * layout.at_once,
              c.are_more);
  }
}

TEST(SlicesAtOnce, HaveRegistersAndSharedMemory) {
  const DeviceTraits device = hopper();
  const auto count = [&](LinearCall call, int halves, int tile_rows) {
    call.rows = tile_rows;
    call.parts = best_small_parts(device, call, halves);
    return slices_at_once(
        device, call, halves, tile_rows,
        small_layout(call, halves, tile_rows, device.shared_bytes));
  };
  // The 4B's gate and up, q, k, v and down.
  EXPECT_EQ(count(call_of(10240, 2560), 2, 1), 4 * 132);
  EXPECT_EQ(count(call_of(10240, 2560), 2, 8), 2 * 132);
  EXPECT_EQ(count(call_of(4096, 2560), 1, 1), 4 * 132);
  EXPECT_EQ(count(call_of(2560, 10240), 1, 1), 2 * 132);
}

TEST(EarlySlices, AreThoseWhoseThreadBlocksWaitLong) {
  LinearCall call = call_of(10240, 2560);  // 640 slices
  EXPECT_EQ(count_early(call, 2, 528), 528) << "the first of two rounds";
  EXPECT_EQ(count_early(call, 2, 640), 0) << "one round";
  EXPECT_EQ(count_early(call, 2, 316), 0) << "three rounds";
  EXPECT_EQ(count_early(call, 1, 640), 640);
  EXPECT_EQ(count_early(call, 1, 528), 0);
  EXPECT_EQ(count_early(call_of(2560, 10240), 1, 160), 0) << "a long K";
  call.parts = 2;
  EXPECT_EQ(count_early(call, 1, 640), 0);
}

}  // namespace
}  // namespace carat::cuda
