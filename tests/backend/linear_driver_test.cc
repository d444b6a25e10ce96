// What differs between processors of one instruction set changes no bit.
#include "backend/cpu/linear_driver.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cpu/packed_matrix.h"
#include "backend/cpu/weight_memory.h"
#include "tests/backend/cpu_fixture.h"

namespace carat::cpu {
namespace {

constexpr int64_t kRows = 23;
constexpr int64_t kCols = 512;
constexpr int64_t kOutputs = 96;

// Quantised activations that own their memory.
struct Activations {
  Activations(int64_t rows, int64_t cols)
      : codes(rows * cols),
        scales(rows * cols / kGroup),
        sums(scales.size() * 2),
        view{codes.data(), scales.data(), sums.data(), cols, cols / kGroup} {}

  static Activations random(int64_t rows, int64_t cols) {
    Activations a(rows, cols);
    Random random(3);
    for (size_t i = 0; i < a.codes.size(); ++i) {
      a.codes[i] = static_cast<int8_t>(random.below(256) - 128);
      a.sums[i / 16] += a.codes[i];
    }
    for (float& scale : a.scales) scale = random.normal(0.01f);
    return a;
  }

  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  QuantizedRows view;
};

class LinearDriverTest : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    if (backend_or_null(GetParam(), 1) == nullptr) {
      GTEST_SKIP() << GetParam() << " is not supported here";
    }
  }
};

TEST_P(LinearDriverTest, TuningChangesNoBit) {
  const QuantizedLayout layouts[] = {
      {4, 32, 8, false},       {4, 32, 0, true},      {4, 64, 0, true},
      {4, 32, 0, true, 256},   {5, 32, 16, false},    {5, 32, 0, true, 256},
      {6, 16, 32, false, 256}, {2, 16, 0, true, 256}, {8, 32, 128, false}};
  const Tuning tunings[] = {{0, false, 600 << 10, {}},
                            {4096, true, 600 << 10, {}},
                            {64, true, 4 << 10, {}}};
  const KernelTable& kernels = select_kernels(GetParam());
  ThreadPool pool(2);
  WeightMemory memory;
  const Activations x = Activations::random(kRows, kCols);
  for (const QuantizedLayout& layout : layouts) {
    const CpuMatrix gate(RandomSource(kOutputs, kCols, layout, 1), pool,
                         memory);
    const CpuMatrix up(RandomSource(kOutputs, kCols, layout, 2), pool, memory);
    std::vector<float> first_sums;
    std::vector<int8_t> first_codes;
    for (const Tuning& tuning : tunings) {
      LinearDriver driver(pool, kernels, tuning);
      std::vector<float> sums(kRows * kOutputs);
      const LinearPiece piece = {
          &gate.tiles(), gate.tile_count(), {sums.data(), kOutputs, kOutputs}};
      driver.run(x.view, kRows, {&piece, 1});
      const Activations out(kRows, kOutputs);
      driver.run_gated(x.view, kRows, gate.tiles(), up.tiles(),
                       gate.tile_count(), false, out.view);
      if (first_sums.empty()) {
        EXPECT_TRUE(std::any_of(out.codes.begin(), out.codes.end(),
                                [](int8_t code) { return code != 0; }));
        first_sums = sums;
        first_codes = out.codes;
      }
      EXPECT_EQ(sums, first_sums) << layout.bits << " bits";
      EXPECT_EQ(out.codes, first_codes) << layout.bits << " bits";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, LinearDriverTest, testing::ValuesIn(kIsaNames),
                         isa_name);

}  // namespace
}  // namespace carat::cpu
