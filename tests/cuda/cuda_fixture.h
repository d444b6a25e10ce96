// A CUDA backend and the reference side by side, and data for both.
#ifndef CARAT_TESTS_CUDA_CUDA_FIXTURE_H_
#define CARAT_TESTS_CUDA_CUDA_FIXTURE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "carat/error.h"
#include "tensor/weight_source.h"
#include "tests/cuda_device.h"

namespace carat {

using Floats = std::vector<float>;

inline Floats normals(int64_t count, uint32_t seed, float scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

// A matrix of random codes, held in memory.
class RandomWeights : public WeightSource {
 public:
  RandomWeights(int64_t rows, int64_t cols, QuantizedLayout layout,
                uint32_t seed)
      : WeightSource(rows, cols, layout) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> scale(0.005f, 0.02f);
    matrix_.layout = layout;
    matrix_.rows = rows;
    matrix_.cols = cols;
    matrix_.codes.resize(static_cast<size_t>(rows * cols));
    for (uint8_t& code : matrix_.codes) {
      code = static_cast<uint8_t>(engine() % (1u << layout.bits));
    }
    const auto groups = static_cast<size_t>(rows * matrix_.groups());
    for (size_t i = 0; i < groups; ++i) {
      matrix_.scales.push_back((engine() % 2 ? 1.f : -1.f) * scale(engine));
      if (layout.has_bias) {
        const auto middle = static_cast<float>(1 << (layout.bits - 1));
        matrix_.biases.push_back(-matrix_.scales.back() * middle +
                                 scale(engine));
      }
    }
  }

  // All groups of a row.
  void set_row(int64_t row, float scale, float bias) {
    const auto groups = static_cast<size_t>(matrix_.groups());
    for (size_t i = 0; i < groups; ++i) {
      const size_t at = static_cast<size_t>(row) * groups + i;
      matrix_.scales[at] = scale;
      if (layout().has_bias) matrix_.biases[at] = bias;
    }
  }

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    out.layout = layout();
    out.rows = count;
    out.cols = cols();
    const auto part = [&](const auto& from, auto& to, int64_t width) {
      to.assign(from.begin() + first * width,
                from.begin() + (first + count) * width);
    };
    part(matrix_.codes, out.codes, cols());
    part(matrix_.scales, out.scales, matrix_.groups());
    if (layout().has_bias) part(matrix_.biases, out.biases, matrix_.groups());
  }
  void read_f32(int64_t first, int64_t count, float* out) const override {
    for (int64_t i = first * cols(); i < (first + count) * cols(); ++i) {
      *out++ = weight(i);
    }
  }

  // The number, and the most that rounding its scale (around the middle code,
  // where there are biases), its bias and itself to bf16 can move it.
  float weight(int64_t i) const {
    const size_t at = group_of(i);
    return dequantize(matrix_.codes[static_cast<size_t>(i)], matrix_.scales[at],
                      layout().has_bias ? matrix_.biases[at] : 0, layout());
  }
  float rounding(int64_t i) const {
    constexpr float kUnit = 0x1p-8f;
    const size_t at = group_of(i);
    float bias = 0, centre = static_cast<float>(layout().zero_point);
    const float most = layout().bits <= 4 ? 7 : 127;
    const bool fits =
        centre <= most + 1 &&
        static_cast<float>((1 << layout().bits) - 1) - centre <= most;
    if (layout().has_bias || !fits) {
      bias = -matrix_.scales[at] * centre +
             (layout().has_bias ? matrix_.biases[at] : 0);
      centre = static_cast<float>((1 << layout().bits) - 1) / 2;
    }
    const float product =
        matrix_.scales[at] *
        (static_cast<float>(matrix_.codes[static_cast<size_t>(i)]) - centre);
    return 1.01f * kUnit *
           (std::abs(product) + std::abs(bias) + std::abs(weight(i)));
  }

 private:
  size_t group_of(int64_t i) const {
    return static_cast<size_t>(i / cols() * matrix_.groups() +
                               i % cols() / layout().group);
  }
  QuantizedMatrix matrix_;
};

// A matrix in a backend's memory, rows padded.
class BackendMatrix {
 public:
  BackendMatrix(Backend& backend, int64_t rows, int64_t cols,
                const Floats& values)
      : backend_(backend), stride_((cols + 15) / 16 * 16 + 16) {
    Floats padded(static_cast<size_t>(rows * stride_), 1234.5f);
    for (int64_t t = 0; t < rows; ++t) {
      std::copy_n(values.begin() + t * cols, cols,
                  padded.begin() + t * stride_);
    }
    buffer_ = backend.upload(padded);
    matrix_ = {buffer_->data(), rows, cols, stride_};
  }
  BackendMatrix(Backend& backend, int64_t rows, int64_t cols)
      : BackendMatrix(backend, rows, cols,
                      Floats(static_cast<size_t>(rows * cols), std::nanf(""))) {
  }

  operator Matrix() const { return matrix_; }
  Floats values() const {
    Floats result(static_cast<size_t>(matrix_.rows * matrix_.cols));
    for (int64_t t = 0; t < matrix_.rows; ++t) {
      backend_.read(matrix_, t, result.data() + t * matrix_.cols);
    }
    return result;
  }

 private:
  Backend& backend_;
  int64_t stride_;
  std::unique_ptr<Buffer> buffer_;
  Matrix matrix_;
};

inline Vector vector_of(const std::unique_ptr<Buffer>& buffer) {
  return {buffer->data(), buffer->bytes() / 4};
}

inline void expect_same_bytes(const Floats& found, const Floats& expected,
                              const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  size_t different = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::memcmp(&found[i], &expected[i], 4) == 0) continue;
    if (++different <= 3) {
      ADD_FAILURE() << what << ": element " << i << " is " << found[i]
                    << ", expected " << expected[i];
    }
  }
  ASSERT_EQ(different, 0u) << what << ": of " << found.size();
}

// Root mean square of the difference over that of the expected values.
inline double relative_error(const Floats& found, const Floats& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = double{found[i]} - double{expected[i]};
    difference += d * d;
    size += double{expected[i]} * double{expected[i]};
  }
  return std::sqrt(difference / size);
}

// Ones on the diagonal of n x n.
inline std::unique_ptr<PackedMatrix> pack_identity(Backend& backend,
                                                   int64_t n) {
  class Identity : public WeightSource {
   public:
    explicit Identity(int64_t n) : WeightSource(n, n, {4, 32, 0, false}) {}
    void read(int64_t first, int64_t count,
              QuantizedMatrix& out) const override {
      out.layout = layout();
      out.rows = count;
      out.cols = cols();
      out.codes.assign(static_cast<size_t>(count * cols()), 0);
      out.scales.assign(static_cast<size_t>(count * out.groups()), 1.0f);
      for (int64_t i = 0; i < count; ++i) {
        out.codes[static_cast<size_t>(i * cols() + first + i)] = 1;
      }
    }
    void read_f32(int64_t first, int64_t count, float* out) const override {
      std::fill_n(out, count * cols(), 0.0f);
      for (int64_t i = 0; i < count; ++i) out[i * cols() + first + i] = 1;
    }
  };
  return backend.pack(Identity(n));
}

// What a linear input holds, seen through pack_identity() of its columns.
inline Floats seen(Backend& backend, const LinearInput& input,
                   const PackedMatrix& identity) {
  const BackendMatrix y(backend, input.rows, input.cols());
  const LinearOutput output{&identity, y};
  backend.linear(input, {&output, 1});
  return y.values();
}
inline Floats seen(Backend& backend, const LinearInput& input) {
  return seen(backend, input, *pack_identity(backend, input.cols()));
}

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    cuda_ = cuda_or_null(&reason);
    if (!cuda_) GTEST_SKIP() << "no GPU here: " << reason;
    reference_ = make_backend({.name = "reference", .threads = 0});
  }
  Backend& cuda() { return *cuda_; }
  Backend& reference() { return *reference_; }
  // The same steps on both; each returns what it read.
  struct Both {
    Floats cuda, reference;
  };
  Both on_both(const std::function<Floats(Backend&)>& steps) {
    return {steps(*cuda_), steps(*reference_)};
  }

 private:
  std::unique_ptr<Backend> cuda_, reference_;
};

}  // namespace carat

#endif  // CARAT_TESTS_CUDA_CUDA_FIXTURE_H_
