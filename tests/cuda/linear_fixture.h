// Inputs of linear layers, and the bound that rounding to bf16 allows.
#ifndef CARAT_TESTS_CUDA_LINEAR_FIXTURE_H_
#define CARAT_TESTS_CUDA_LINEAR_FIXTURE_H_

#include <span>

#include "tests/cuda/cuda_fixture.h"

namespace carat {

inline constexpr float kUnit = 0x1p-8f;  // of bf16

// Rows of norm 1 (a norm with weights of 1), as linear input.
inline std::unique_ptr<LinearInput> normed_input(Backend& backend,
                                                 const Floats& x, int64_t rows,
                                                 int64_t cols) {
  const BackendMatrix matrix(backend, rows, cols, x);
  const auto ones = backend.upload(Floats(static_cast<size_t>(cols), 1.0f));
  auto input = backend.make_input(rows, cols);
  backend.norm(matrix, vector_of(ones), 0, *input);
  backend.wait(backend.submit());
  return input;
}

// [rows, outputs]
inline Floats outputs_of(Backend& backend, const PackedMatrix& weight,
                         int64_t outputs, const LinearInput& in) {
  const BackendMatrix y(backend, in.rows, outputs);
  const LinearOutput output{&weight, y};
  backend.linear(in, {&output, 1});
  return y.values();
}

// A gated layer's outputs seen through a layer that reads them all: sums of
// random signs.
class GatedSums {
 public:
  static constexpr int64_t kSums = 64;

  GatedSums(Backend& backend, const QuantizedLayout& gate,
            const QuantizedLayout& up, int64_t outputs, int64_t cols)
      : backend_(backend),
        outputs_(outputs),
        gates_(backend.pack(RandomWeights(outputs, cols, gate, 1))),
        ups_(backend.pack(RandomWeights(outputs, cols, up, 2))),
        sums_(backend.pack(
            RandomWeights(kSums, outputs, {8, 32, 128, false}, 3))) {}

  // [rows, kSums]
  Floats operator()(const LinearInput& in) const {
    const auto out = backend_.make_input(in.rows, outputs_);
    backend_.gated_linear(in, *gates_, *ups_, Activation::kGeluTanh, *out);
    return outputs_of(backend_, *sums_, kSums, *out);
  }

 private:
  Backend& backend_;
  int64_t outputs_;
  std::unique_ptr<PackedMatrix> gates_, ups_, sums_;
};

inline Floats normed(const Floats& x, int64_t cols) {
  Floats y = x;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(cols)) {
    double sum = 0;
    for (int64_t i = 0; i < cols; ++i) sum += double{x[row + i]} * x[row + i];
    const double factor = 1 / std::sqrt(sum / static_cast<double>(cols));
    for (int64_t i = 0; i < cols; ++i) {
      y[row + i] = static_cast<float>(x[row + i] * factor);
    }
  }
  return y;
}

// A row of outputs against the sums in float64, of x before its rounding.
inline void expect_within_bound(std::span<const float> found,
                                std::span<const float> x,
                                const RandomWeights& source) {
  const int64_t cols = source.cols();
  for (int64_t n = 0; n < source.rows(); ++n) {
    double sum = 0, bound = 0;
    for (int64_t k = 0; k < cols; ++k) {
      const double a = x[k];
      const double w = source.weight(n * cols + k);
      const double dw = source.rounding(n * cols + k);
      sum += a * w;
      // Rounding a, w, and at most 2^-14 of the largest partial sum.
      bound += std::abs(a) *
               (dw + 1.01 * kUnit * (std::abs(w) + dw) + 0x1p-14 * std::abs(w));
    }
    ASSERT_NEAR(found[n], sum, bound) << "output " << n;
  }
}

}  // namespace carat

#endif  // CARAT_TESTS_CUDA_LINEAR_FIXTURE_H_
