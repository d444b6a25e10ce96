// Few rows of so many outputs that thread blocks take slices of them in turn,
// the next one's weights taking the place of what has been multiplied: the same
// bits as of many rows, for ranges of K that are whole and that are not. That
// they do take turns on an H100: SmallTurns.AreTakenByTheirTests.
#include "tests/cuda/linear_fixture.h"

namespace carat {
namespace {

constexpr int64_t kMany = 64;  // the wide kernels'
constexpr int64_t kFew[] = {1, 2, 8, 13};

constexpr QuantizedLayout kLayouts[] = {
    {4, 32, 8, false}, {4, 64, 0, true}, {8, 32, 0, true}};

class CudaLinearTurns : public CudaTest {
 protected:
  // What `run` gives for the first and the last few rows of many, and for them
  // alone; it returns `outputs` columns a row.
  template <class Run>
  void expect_same_bits(const Run& run, int64_t cols, int64_t outputs) {
    const Floats x = normals(kMany * cols, 5);
    const auto of = [&](int64_t first, int64_t rows) {
      const auto in = normed_input(
          cuda(),
          Floats(x.begin() + first * cols, x.begin() + (first + rows) * cols),
          rows, cols);
      return run(*in);
    };
    const Floats all = of(0, kMany);
    for (const int64_t rows : kFew) {
      const std::string what = std::to_string(rows) + " rows";
      expect_same_bytes(of(0, rows),
                        Floats(all.begin(), all.begin() + rows * outputs),
                        what + ", the first");
      expect_same_bytes(of(kMany - rows, rows),
                        Floats(all.end() - rows * outputs, all.end()),
                        what + ", the last");
    }
  }
  void expect_same_outputs(const QuantizedLayout& layout, int64_t outputs,
                           int64_t cols) {
    const auto weight = cuda().pack(RandomWeights(outputs, cols, layout, 1));
    const auto run = [&](const LinearInput& in) {
      return outputs_of(cuda(), *weight, outputs, in);
    };
    expect_same_bits(run, cols, outputs);
  }
  void expect_same_gated(const QuantizedLayout& layout,
                         const QuantizedLayout& up_layout, int64_t outputs,
                         int64_t cols) {
    expect_same_bits(GatedSums(cuda(), layout, up_layout, outputs, cols), cols,
                     GatedSums::kSums);
  }
};

// Two ranges of 512, the second of one tile of 64 columns.
TEST_F(CudaLinearTurns, OfAShortK) {
  for (const QuantizedLayout& layout : kLayouts) {
    SCOPED_TRACE(testing::Message()
                 << layout.bits << " bits, biases " << layout.has_bias);
    expect_same_outputs(layout, 84790, 576);
    expect_same_gated(layout, layout, 42390, 576);
  }
}

// Five ranges of 1024, the fifth of one tile.
TEST_F(CudaLinearTurns, OfALongK) {
  expect_same_outputs(kLayouts[0], 33990, 4160);
  expect_same_gated(kLayouts[1], kLayouts[1], 8590, 4160);
}

// Ten ranges, which two thread blocks share.
TEST_F(CudaLinearTurns, OfSlicesThatAreShared) {
  expect_same_gated(kLayouts[0], kLayouts[0], 8590, 9280);
}

// A second range of five tiles, a fifth of eleven.
TEST_F(CudaLinearTurns, OfRangesThatArePartlyThere) {
  expect_same_outputs(kLayouts[0], 84790, 832);
  expect_same_outputs({4, 16, 8, false}, 33990, 4800);
}

TEST_F(CudaLinearTurns, OfGateAndUpOfDifferentBits) {
  expect_same_gated(kLayouts[0], kLayouts[2], 42390, 576);
}

// Sums are stored on the way, since not all are kept.
TEST_F(CudaLinearTurns, OfMoreSharedSlicesThanAreKept) {
  expect_same_gated(kLayouts[0], kLayouts[0], 17990, 9280);
}

// No turns, but two rounds, whose first asks slowly.
TEST_F(CudaLinearTurns, OrOfTwoRounds) {
  expect_same_gated(kLayouts[0], kLayouts[0], 30000, 576);
}

}  // namespace
}  // namespace carat
