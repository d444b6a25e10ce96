// Linear layers around the length of K where ranges grow (4096), and over
// several ranges, for every size of group: each row has the same bits whatever
// the number of rows and of outputs beside it.
#include <array>

#include "tests/cuda/linear_fixture.h"

namespace carat {
namespace {

constexpr int64_t kMostRows = 200;
constexpr int64_t kRows[] = {1, 7, 8, 16, 17, 32, 33, 64, 65, 128, kMostRows};

std::vector<QuantizedLayout> layouts() {
  std::vector<QuantizedLayout> all;
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      all.push_back({bits, group, 1 << (bits - 1), false});
      all.push_back({bits, group, 0, true});
    }
  }
  return all;
}

std::string name_of(const QuantizedLayout& layout) {
  return std::to_string(layout.bits) + " bits, groups of " +
         std::to_string(layout.group) + (layout.has_bias ? ", biases" : "");
}

// The parameter is K.
class CudaLinearLengths : public CudaTest,
                          public testing::WithParamInterface<int64_t> {
 protected:
  static int64_t cols() { return GetParam(); }

  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped()) x_ = normals(kMostRows * cols(), 5);
  }

  // The first rows of the same x, normed.
  std::unique_ptr<LinearInput> input(Backend& backend, int64_t rows) const {
    return normed_input(backend, Floats(x_.begin(), x_.begin() + rows * cols()),
                        rows, cols());
  }
  // A row of them in f32, exact but for its last bits.
  Floats exact_row(int64_t row) const {
    return normed(
        Floats(x_.begin() + row * cols(), x_.begin() + (row + 1) * cols()),
        cols());
  }
  std::vector<std::unique_ptr<LinearInput>> inputs() {
    std::vector<std::unique_ptr<LinearInput>> all;
    for (const int64_t rows : kRows) all.push_back(input(cuda(), rows));
    return all;
  }

 private:
  Floats x_;
};

Floats first_rows(const Floats& values, int64_t rows, int64_t cols) {
  return Floats(values.begin(), values.begin() + rows * cols);
}

TEST_P(CudaLinearLengths, OutputsAreWithinTheBoundAndEqualForEveryCount) {
  constexpr std::array<int64_t, 3> kOutputs = {80, 136, 24};
  const auto inputs = this->inputs();
  for (const QuantizedLayout& layout : layouts()) {
    SCOPED_TRACE(name_of(layout));
    const RandomWeights sources[] = {{kOutputs[0], cols(), layout, 1},
                                     {kOutputs[1], cols(), layout, 2},
                                     {kOutputs[2], cols(), layout, 3}};
    std::vector<std::unique_ptr<PackedMatrix>> weights;
    for (const auto& source : sources) weights.push_back(cuda().pack(source));
    // The first `count` weights at once.
    const auto run = [&](const LinearInput& in, size_t count) {
      std::vector<BackendMatrix> y;
      std::vector<LinearOutput> outputs;
      for (size_t i = 0; i < count; ++i) {
        y.emplace_back(cuda(), in.rows, kOutputs[i]);
        outputs.push_back({weights[i].get(), y.back()});
      }
      cuda().linear(in, outputs);
      std::vector<Floats> values;
      for (const BackendMatrix& matrix : y) values.push_back(matrix.values());
      return values;
    };

    const std::vector<Floats> all = run(*inputs.back(), kOutputs.size());
    for (size_t i = 0; i < kOutputs.size(); ++i) {
      const int64_t row = 99 * static_cast<int64_t>(i);  // another for each
      SCOPED_TRACE("row " + std::to_string(row));
      expect_within_bound(
          std::span(all[i]).subspan(row * kOutputs[i], kOutputs[i]),
          exact_row(row), sources[i]);
    }
    for (const auto& in : inputs) {
      const std::string rows = std::to_string(in->rows) + " rows";
      expect_same_bytes(run(*in, 1)[0],
                        first_rows(all[0], in->rows, kOutputs[0]),
                        rows + ", alone");
      const std::vector<Floats> several = run(*in, kOutputs.size());
      for (size_t i = 0; i < kOutputs.size(); ++i) {
        expect_same_bytes(several[i], first_rows(all[i], in->rows, kOutputs[i]),
                          rows + ", output " + std::to_string(i));
      }
    }
  }
}

TEST_P(CudaLinearLengths, GatedAgreesAndIsEqualForEveryCount) {
  constexpr int64_t kHidden = 80;
  std::vector<std::pair<QuantizedLayout, QuantizedLayout>> pairs;
  for (const QuantizedLayout& layout : layouts()) {
    pairs.emplace_back(layout, layout);
  }
  pairs.push_back({{4, 32, 8, false}, {8, 64, 0, true}});
  pairs.push_back({{4, 16, 8, false}, {4, 128, 0, true}});
  pairs.push_back({{8, 16, 0, true}, {8, 128, 128, false}});
  const auto inputs = this->inputs();
  constexpr int64_t kReferenceRows = 3;
  const auto reference_input = input(reference(), kReferenceRows);
  const auto identity = pack_identity(cuda(), kHidden);
  for (const auto& [gate_layout, up_layout] : pairs) {
    SCOPED_TRACE(name_of(gate_layout) + " and " + name_of(up_layout));
    const RandomWeights gate(kHidden, cols(), gate_layout, 21);
    const RandomWeights up(kHidden, cols(), up_layout, 22);
    const auto gates = cuda().pack(gate), ups = cuda().pack(up);
    const auto run = [&](const LinearInput& in) {
      const auto out = cuda().make_input(in.rows, kHidden);
      cuda().gated_linear(in, *gates, *ups, Activation::kGeluTanh, *out);
      return seen(cuda(), *out, *identity);
    };
    const Floats all = run(*inputs.back());
    const auto out = reference().make_input(kReferenceRows, kHidden);
    reference().gated_linear(*reference_input, *reference().pack(gate),
                             *reference().pack(up), Activation::kGeluTanh,
                             *out);
    // As in GatedAgreesWithTheReferenceAndInBits.
    EXPECT_LE(relative_error(first_rows(all, kReferenceRows, kHidden),
                             seen(reference(), *out)),
              2.25f * kUnit);
    for (const auto& in : inputs) {
      expect_same_bytes(run(*in), first_rows(all, in->rows, kHidden),
                        std::to_string(in->rows) + " rows");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(K, CudaLinearLengths,
                         testing::Values(4096, 4100, 5120, 10240));

// The 27B's down_proj: of eight thread blocks that share 21 ranges the last has
// none. Longer than a norm, so the input is a gated layer's output.
TEST_F(CudaTest, ALinearWhoseLastThreadBlocksHaveNoRangeAgreesForEveryCount) {
  constexpr int64_t kHidden = 64, kCols = 21504, kOutputs = 96;
  constexpr int64_t kReferenceRows = 3;
  const QuantizedLayout layout = {4, 32, 8, false};
  const RandomWeights gate(kCols, kHidden, layout, 31);
  const RandomWeights up(kCols, kHidden, layout, 32);
  const RandomWeights down(kOutputs, kCols, layout, 33);
  const Floats x = normals(kMostRows * kHidden, 34);
  const auto run = [&](Backend& backend, int64_t rows) {
    const auto in =
        normed_input(backend, first_rows(x, rows, kHidden), rows, kHidden);
    const auto ffn = backend.make_input(rows, kCols);
    const auto gates = backend.pack(gate), ups = backend.pack(up);
    backend.gated_linear(*in, *gates, *ups, Activation::kGeluTanh, *ffn);
    const auto weight = backend.pack(down);
    const BackendMatrix y(backend, rows, kOutputs);
    const LinearOutput output{weight.get(), y};
    backend.linear(*ffn, {&output, 1});
    return y.values();
  };
  const Floats all = run(cuda(), kMostRows);
  EXPECT_LE(relative_error(first_rows(all, kReferenceRows, kOutputs),
                           run(reference(), kReferenceRows)),
            2.25f * kUnit);
  for (const int64_t rows : kRows) {
    expect_same_bytes(run(cuda(), rows), first_rows(all, rows, kOutputs),
                      std::to_string(rows) + " rows");
  }
}

}  // namespace
}  // namespace carat
