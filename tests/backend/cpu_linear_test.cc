#include <gtest/gtest.h>

#include "tests/backend/cpu_fixture.h"

namespace carat {
namespace {

struct Layout {
  QuantizedLayout layout;
  const char* name;
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {{4, 32, 8, false}, "Q4_0"},     {{4, 32, 0, true}, "Q4_1"},
      {{5, 32, 16, false}, "Q5_0"},    {{5, 32, 0, true}, "Q5_1"},
      {{8, 32, 128, false}, "Q8_0"},   {{6, 16, 32, false, 256}, "Q6_K"},
      {{2, 16, 0, true, 256}, "Q2_K"}, {{3, 16, 4, false, 256}, "Q3_K"},
      {{4, 64, 0, true}, "mlx4 64"},   {{8, 64, 0, true}, "mlx8 64"},
      {{4, 128, 8, false}, "4, 128"},  {{4, 32, 0, true, 256}, "Q4_K"},
      {{5, 32, 0, true, 256}, "Q5_K"}, {{7, 32, 64, false}, "7, 32"},
  };
  return all;
}

class CpuLinearTest : public CpuIsaTest {
 protected:
  // Random activations as linear input, and what they should be.
  struct Input {
    std::unique_ptr<LinearInput> input;
    Activations expected;
  };
  Input make_input(int64_t rows, int64_t cols, uint32_t seed) {
    Random random(seed);
    const Floats x = random.normals(rows * cols);
    const Floats weight = random.normals(cols);
    const HostMatrix matrix(backend(), rows, cols, x);
    const auto uploaded = backend().upload(weight);
    Input result;
    result.input = backend().make_input(rows, cols);
    backend().norm(matrix, vector_of(uploaded), 1e-6f, *result.input);
    result.expected =
        numerics::quantize(numerics::rms_norm(x, weight, 1e-6f), rows, cols);
    return result;
  }
};

TEST_P(CpuLinearTest, EveryLayoutAndTailMatchesThePage) {
  const int64_t shapes[][2] = {{1, 1},   {33, 16},  {32, 32},  {47, 40},
                               {16, 96}, {65, 200}, {100, 256}};
  uint32_t seed = 0;
  for (const Layout& layout : layouts()) {
    for (const auto& [n, k] : shapes) {
      const RandomSource source(n, k, layout.layout, ++seed);
      const auto packed = backend().pack(source);
      EXPECT_EQ(packed->bytes(), backend().packed_bytes(n, k, layout.layout));
      const int64_t rows = 1 + seed % 9;
      const Input x = make_input(rows, k, seed);
      HostMatrix y(backend(), rows, n);
      const LinearOutput output{packed.get(), y};
      backend().linear(*x.input, {&output, 1});
      expect_same_bits(y.values(),
                       numerics::linear(x.expected, source.matrix()),
                       std::string(layout.name) + " N " + std::to_string(n) +
                           " K " + std::to_string(k));
    }
  }
}

TEST_P(CpuLinearTest, EveryNumberOfRowsMatchesThePage) {
  const RandomSource source(70, 136, {4, 32, 8, false}, 7);
  const auto packed = backend().pack(source);
  for (int64_t rows = 1; rows <= 40; ++rows) {
    const Input x = make_input(rows, 136, static_cast<uint32_t>(rows));
    HostMatrix y(backend(), rows, 70);
    const LinearOutput output{packed.get(), y};
    backend().linear(*x.input, {&output, 1});
    expect_same_bits(y.values(), numerics::linear(x.expected, source.matrix()),
                     std::to_string(rows) + " rows");
  }
}

// Enough rows for several blocks, and outputs of several layouts at once.
TEST_P(CpuLinearTest, SeveralOutputsAndBlocksMatchThePage) {
  const int64_t rows = 150, cols = 2600;
  const Input x = make_input(rows, cols, 3);
  const RandomSource sources[] = {
      RandomSource(20, cols, {4, 32, 8, false}, 1),
      RandomSource(40, cols, {8, 32, 128, false}, 2),
      RandomSource(5, cols, {6, 16, 32, false, 256}, 3)};
  std::vector<std::unique_ptr<PackedMatrix>> packed;
  std::vector<HostMatrix> results;
  std::vector<LinearOutput> outputs;
  for (const RandomSource& source : sources) {
    packed.push_back(backend().pack(source));
    results.emplace_back(backend(), rows, source.rows());
    outputs.push_back({packed.back().get(), results.back()});
  }
  backend().linear(*x.input, outputs);
  for (size_t i = 0; i < results.size(); ++i) {
    expect_same_bits(results[i].values(),
                     numerics::linear(x.expected, sources[i].matrix()),
                     "output " + std::to_string(i));
  }
}

// The largest sums an int8 group can have, where narrower sums would overflow.
TEST_P(CpuLinearTest, ExtremeCodesDoNotOverflow) {
  for (const Layout& layout : layouts()) {
    RandomSource source(32, 128, layout.layout, 1);
    const auto top = static_cast<uint8_t>((1 << layout.layout.bits) - 1);
    std::fill(source.matrix().codes.begin(), source.matrix().codes.end(), top);
    const auto packed = backend().pack(source);
    for (const float sign : {1.0f, -1.0f}) {
      const Floats ones(2 * 128, sign);
      const HostMatrix matrix(backend(), 2, 128, ones);
      const Floats weight(128, 1.0f);
      const auto uploaded = backend().upload(weight);
      const auto input = backend().make_input(2, 128);
      backend().norm(matrix, vector_of(uploaded), 0, *input);
      HostMatrix y(backend(), 2, 32);
      const LinearOutput output{packed.get(), y};
      backend().linear(*input, {&output, 1});
      expect_same_bits(
          y.values(),
          numerics::linear(numerics::quantize(ones, 2, 128), source.matrix()),
          layout.name);
    }
  }
}

// Against exact weights and unrounded activations: the error is that of the
// roundings of activations (half a step of their group's largest value) and of
// scales (2^-11), so bounded by norms.
TEST_P(CpuLinearTest, StaysWithinTheBoundOfItsRoundings) {
  const int64_t rows = 5, n = 64, k = 512;
  Random random(11);
  const Floats x = random.normals(rows * k);
  const Floats weight(k, 1.0f);
  const auto uploaded = backend().upload(weight);
  const HostMatrix matrix(backend(), rows, k, x);
  const auto input = backend().make_input(rows, k);
  backend().norm(matrix, vector_of(uploaded), 0, *input);
  for (const Layout& layout : layouts()) {
    const RandomSource source(n, k, layout.layout, 5);
    const auto packed = backend().pack(source);
    HostMatrix y(backend(), rows, n);
    const LinearOutput output{packed.get(), y};
    backend().linear(*input, {&output, 1});
    const Floats found = y.values();
    Floats w(n * k);
    source.read_f32(0, n, w.data());
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < k; ++i)
        squares += double{x[t * k + i]} * x[t * k + i];
      const double r = 1 / std::sqrt(squares / k);
      for (int64_t j = 0; j < n; ++j) {
        double exact = 0, w_squares = 0, w_sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          exact += x[t * k + i] * r * w[j * k + i];
          w_squares += double{w[j * k + i]} * w[j * k + i];
          // Scales and biases are rounded apart, so their parts count.
          w_sum += std::fabs(x[t * k + i] * r) *
                   (source.matrix().scales[j * source.matrix().groups() +
                                           i / layout.layout.group] == 0
                        ? 0
                        : std::fabs(w[j * k + i]) + 0.2);
        }
        // Independent roundings of at most half a step of 4 / 127 each.
        const double step = 4.0 / 127;
        const double bound =
            6 * step * std::sqrt(w_squares / 12) + w_sum * std::ldexp(1.0, -11);
        EXPECT_NEAR(found[t * n + j], exact, bound) << layout.name;
      }
    }
  }
}

TEST_P(CpuLinearTest, GatedLinearMatchesThePage) {
  struct Pair {
    QuantizedLayout gate, up;
  };
  const Pair pairs[] = {{{4, 32, 8, false}, {4, 32, 8, false}},
                        {{5, 32, 16, false}, {8, 32, 128, false}},
                        {{4, 32, 0, true}, {6, 16, 32, false, 256}}};
  for (const Pair& pair : pairs) {
    for (const Activation activation :
         {Activation::kGeluTanh, Activation::kSilu}) {
      for (const int64_t width : {32, 75}) {
        const int64_t rows = 8, cols = 96;
        const RandomSource gate(width, cols, pair.gate, 21);
        const RandomSource up(width, cols, pair.up, 22);
        const auto packed_gate = backend().pack(gate);
        const auto packed_up = backend().pack(up);
        const Input x = make_input(rows, cols, 9);
        const auto out = backend().make_input(rows, width);
        backend().gated_linear(*x.input, *packed_gate, *packed_up, activation,
                               *out);
        ASSERT_EQ(out->rows, rows);
        const Floats gates = numerics::linear(x.expected, gate.matrix());
        Floats products = numerics::linear(x.expected, up.matrix());
        for (size_t i = 0; i < products.size(); ++i) {
          products[i] = (activation == Activation::kSilu
                             ? numerics::silu(gates[i])
                             : numerics::gelu_tanh(gates[i])) *
                        products[i];
        }
        expect_same_bits(seen_through_identity(backend(), *out),
                         dequantized(numerics::quantize(products, rows, width)),
                         "gated");
      }
    }
  }
}

TEST_P(CpuLinearTest, EmbedMatchesThePage) {
  for (const Layout& layout : layouts()) {
    for (const int64_t cols : {40, 128}) {
      const RandomSource source(70, cols, layout.layout, 13);
      const auto packed = backend().pack(source);
      const std::vector<int32_t> tokens = {0, 69, 33, 16, 15, 47};
      HostMatrix x(backend(), static_cast<int64_t>(tokens.size()), cols);
      backend().embed(*packed, tokens, 25.3f, x);
      Floats expected;
      for (const int32_t token : tokens) {
        const Floats row = numerics::embed(source.matrix(), token, 25.3f);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      expect_same_bits(x.values(), expected, layout.name);
    }
  }
}

// Scales of any size, also those f16 could not hold.
TEST_P(CpuLinearTest, ScalesOfAnyRangeKeepTheirPrecision) {
  for (const float size : {1e-30f, 1e-6f, 1.0f, 1e6f, 1e20f}) {
    RandomSource source(32, 64, {4, 32, 8, false}, 3);
    for (float& scale : source.matrix().scales) scale *= size;
    const auto packed = backend().pack(source);
    const Input x = make_input(3, 64, 2);
    HostMatrix y(backend(), 3, 32);
    const LinearOutput output{packed.get(), y};
    backend().linear(*x.input, {&output, 1});
    expect_same_bits(y.values(), numerics::linear(x.expected, source.matrix()),
                     "size " + std::to_string(size));
  }
}

TEST_P(CpuLinearTest, RefusesShapesThatDiffer) {
  const RandomSource source(32, 64, {4, 32, 8, false}, 3);
  const auto packed = backend().pack(source);
  const auto input = backend().make_input(4, 96);
  input->rows = 2;
  HostMatrix y(backend(), 2, 32);
  const LinearOutput output{packed.get(), y};
  EXPECT_THROW(backend().linear(*input, {&output, 1}), Error);
  HostMatrix x(backend(), 1, 64);
  const int32_t outside[] = {32};
  EXPECT_THROW(backend().embed(*packed, outside, 1, x), Error);
  const RandomSource odd(32, 64, {4, 24, 8, false}, 3);
  EXPECT_THROW(backend().pack(odd), Error);
}

CARAT_FOR_EACH_ISA(CpuLinearTest);

}  // namespace
}  // namespace carat
