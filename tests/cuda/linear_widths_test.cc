// Linear layers of many outputs, as models have them: every width of the wide
// kernels, plain and gated, gives the bits of the small ones.
#include <array>
#include <set>

#include "backend/cuda/linear_wide.h"
#include "backend/cuda/linear_wide_plan.h"
#include "backend/cuda/partial_room.h"
#include "tests/cuda/linear_fixture.h"
#include "tests/cuda/wide_call.h"

namespace carat {
namespace {

// A whole range of K and a short one.
constexpr int64_t kCols = 576;
constexpr int64_t kOutputs = 10240;
constexpr int kRows[] = {33,  48,  64,  72,  96,  104, 128,
                         144, 152, 160, 200, 304, 577};
constexpr int64_t kMostRows = 577;
// Narrower ones are for few outputs, as the other tests have them.
constexpr int kLeastWidth = 48;
// As many as the small kernels take.
constexpr int64_t kFew = 16;

constexpr QuantizedLayout kLayouts[] = {
    {4, 32, 8, false}, {4, 64, 0, true}, {8, 32, 128, false}, {8, 32, 0, true}};

TEST(CudaLinearWidths, TheRowsHereTakeAllButTheNarrowest) {
  for (const bool gated : {false, true}) {
    std::set<int> widths;
    for (const int rows : kRows) {
      cuda::LinearCall call = cuda::wide_call(rows, kOutputs, kCols);
      if (gated) {
        call.pieces[1] = call.pieces[0];
        call.piece_count = 2;
      }
      widths.insert(cuda::plan_wide(cuda::h100(), call, gated, 0).width);
    }
    for (const int width : cuda::kWidths) {
      if (width < kLeastWidth) continue;
      EXPECT_TRUE(widths.contains(width)) << width << (gated ? ", gated" : "");
    }
  }
}

class CudaLinearWidthsOnDevice : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped()) x_ = normals(kMostRows * kCols, 5);
  }
  // Rows [first, first + rows) of x, normed.
  std::unique_ptr<LinearInput> input(int64_t first, int64_t rows) {
    return normed_input(
        cuda(),
        Floats(x_.begin() + first * kCols, x_.begin() + (first + rows) * kCols),
        rows, kCols);
  }
  // What `run` gives for the first and the last few of many rows, and for them
  // alone; it returns `cols` columns a row.
  template <class Run>
  void expect_equal_for_every_count(const Run& run, int64_t cols) {
    const Floats first = run(*input(0, kFew));
    for (const int rows : kRows) {
      const std::string what = std::to_string(rows) + " rows";
      const Floats all = run(*input(0, rows));
      expect_same_bytes(Floats(all.begin(), all.begin() + kFew * cols), first,
                        what + ", the first");
      expect_same_bytes(Floats(all.end() - kFew * cols, all.end()),
                        run(*input(rows - kFew, kFew)), what + ", the last");
    }
  }

 private:
  Floats x_;
};

TEST_F(CudaLinearWidthsOnDevice, OutputsHaveTheSameBits) {
  for (const QuantizedLayout& layout : kLayouts) {
    SCOPED_TRACE(testing::Message()
                 << layout.bits << " bits, biases " << layout.has_bias);
    const auto weight = cuda().pack(RandomWeights(kOutputs, kCols, layout, 1));
    const auto run = [&](const LinearInput& in) {
      return outputs_of(cuda(), *weight, kOutputs, in);
    };
    expect_equal_for_every_count(run, kOutputs);
  }
}

TEST_F(CudaLinearWidthsOnDevice, GatedOutputsHaveTheSameBits) {
  for (const QuantizedLayout& layout : kLayouts) {
    SCOPED_TRACE(testing::Message()
                 << layout.bits << " bits, biases " << layout.has_bias);
    expect_equal_for_every_count(
        GatedSums(cuda(), layout, layout, kOutputs, kCols), GatedSums::kSums);
  }
}

// A long K that thread blocks share, in two lanes at once: the sums of each lie
// in room of their own, which grows while the other lane is at work.
TEST_F(CudaLinearWidthsOnDevice, LanesHaveTheSameBits) {
  constexpr int64_t kLongCols = 5120, kFewOutputs = 1024;
  constexpr int kLaneRows[] = {48, 128, 200};
  constexpr int kCalls = 30;  // enough of them that lanes overlap
  if (cuda().lanes(kLaneRows[2]) != 2) GTEST_SKIP() << "no lanes here";
  const auto weight =
      cuda().pack(RandomWeights(kFewOutputs, kLongCols, {4, 32, 8, false}, 1));
  for (const int rows : kLaneRows) {
    const auto plan = cuda::plan_wide(
        cuda::h100(), cuda::wide_call(rows, kFewOutputs, kLongCols), false,
        cuda::PartialRoom::kMostLaneBytes, true);
    ASSERT_GT(plan.k_parts, 1);
    std::unique_ptr<LinearInput> inputs[2];
    std::unique_ptr<BackendMatrix> outputs[2];
    Floats expected[2];
    for (uint32_t lane = 0; lane < 2; ++lane) {
      inputs[lane] = normed_input(cuda(), normals(rows * kLongCols, 7 + lane),
                                  rows, kLongCols);
      expected[lane] = outputs_of(cuda(), *weight, kFewOutputs, *inputs[lane]);
      outputs[lane] =
          std::make_unique<BackendMatrix>(cuda(), rows, kFewOutputs);
    }
    for (int i = 0; i < kCalls; ++i) {
      for (const int lane : {0, 1}) {
        cuda().use_lane(lane);
        const LinearOutput output{weight.get(), *outputs[lane]};
        cuda().linear(*inputs[lane], {&output, 1});
        cuda().submit();
      }
    }
    cuda().join_lanes();
    for (const int lane : {0, 1}) {
      expect_same_bytes(
          outputs[lane]->values(), expected[lane],
          std::to_string(rows) + " rows, lane " + std::to_string(lane));
    }
  }
}

}  // namespace
}  // namespace carat
