// Random data, and CPU backends of every instruction set to feed it to.
#ifndef CARAT_TESTS_BACKEND_CPU_FIXTURE_H_
#define CARAT_TESTS_BACKEND_CPU_FIXTURE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "carat/error.h"
#include "tensor/weight_source.h"
#include "tests/backend/cpu_numerics.h"

namespace carat {

using numerics::Activations;
using numerics::Floats;

// The same numbers on every machine, unlike the standard library's
// distributions, which leave their arithmetic open.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  // Nearly normal: the sum of 8 uniform numbers of 16 bits.
  float normal(float scale = 1) {
    int32_t sum = -4 * 0xffff;
    for (int i = 0; i < 4; ++i) {
      const auto two = static_cast<uint32_t>(engine_());
      sum +=
          static_cast<int32_t>(two & 0xffff) + static_cast<int32_t>(two >> 16);
    }
    constexpr float kUnit = 0x1.3988e2p-16f;  // of standard deviation 1
    return static_cast<float>(sum) * kUnit * scale;
  }
  int64_t below(int64_t n) {
    return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n));
  }
  Floats normals(int64_t n, float scale = 1) {
    Floats x(n);
    for (float& v : x) v = normal(scale);
    return x;
  }

 private:
  std::mt19937 engine_;
};

// A matrix of random codes, held in memory.
class RandomSource : public WeightSource {
 public:
  RandomSource(int64_t rows, int64_t cols, QuantizedLayout layout,
               uint32_t seed)
      : WeightSource(rows, cols, layout) {
    Random random(seed);
    matrix_.layout = layout;
    matrix_.rows = rows;
    matrix_.cols = cols;
    const int64_t groups = matrix_.groups();
    for (int64_t i = 0; i < rows * cols; ++i) {
      matrix_.codes.push_back(
          static_cast<uint8_t>(random.below(int64_t{1} << layout.bits)));
    }
    if (layout.super_block > 0) {
      fill_super_blocks(random);
      return;
    }
    for (int64_t i = 0; i < rows * groups; ++i) {
      matrix_.scales.push_back(random.normal(0.01f));
      if (layout.has_bias) matrix_.biases.push_back(random.normal(0.05f));
    }
  }

  const QuantizedMatrix& matrix() const { return matrix_; }
  QuantizedMatrix& matrix() { return matrix_; }

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    const int64_t groups = matrix_.groups();
    out.layout = layout();
    out.rows = count;
    out.cols = cols();
    const auto part = [&](const auto& from, auto& to, int64_t width) {
      to.assign(from.begin() + first * width,
                from.begin() + (first + count) * width);
    };
    part(matrix_.codes, out.codes, cols());
    part(matrix_.scales, out.scales, groups);
    if (layout().has_bias) part(matrix_.biases, out.biases, groups);
    if (layout().super_block == 0) return;
    const int64_t blocks = matrix_.super_blocks();
    part(matrix_.super_scales, out.super_scales, blocks);
    part(matrix_.scale_codes, out.scale_codes, groups);
    if (!layout().has_bias) return;
    part(matrix_.super_biases, out.super_biases, blocks);
    part(matrix_.bias_codes, out.bias_codes, groups);
  }
  void read_f32(int64_t first, int64_t count, float* out) const override {
    const int64_t groups = matrix_.groups();
    for (int64_t i = first * cols(); i < (first + count) * cols(); ++i) {
      const int64_t at = i / cols() * groups + i % cols() / layout().group;
      *out++ = dequantize(matrix_.codes[i], matrix_.scales[at],
                          layout().has_bias ? matrix_.biases[at] : 0, layout());
    }
  }

 private:
  // Scales and biases as int8 times f16, the way formats store them.
  void fill_super_blocks(Random& random) {
    QuantizedMatrix& m = matrix_;
    const auto fill = [&](Floats& supers, std::vector<int8_t>& codes,
                          Floats& products, float deviation) {
      for (int64_t i = 0; i < m.rows * m.super_blocks(); ++i) {
        supers.push_back(f16_to_f32(f32_to_f16(random.normal(deviation))));
      }
      for (int64_t i = 0; i < m.rows * m.groups(); ++i) {
        codes.push_back(static_cast<int8_t>(random.below(256) - 128));
        const int64_t block =
            i % m.groups() * m.layout.group / m.layout.super_block;
        products.push_back(supers[i / m.groups() * m.super_blocks() + block] *
                           codes.back());
      }
    };
    fill(m.super_scales, m.scale_codes, m.scales, 0.0002f);
    if (m.layout.has_bias) {
      fill(m.super_biases, m.bias_codes, m.biases, 0.001f);
    }
  }

  QuantizedMatrix matrix_;
};

// Null where this machine lacks the instruction set.
inline std::unique_ptr<Backend> backend_or_null(std::string_view isa,
                                                int threads) {
  try {
    return make_cpu_backend(isa, threads);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
    return nullptr;
  }
}

// A matrix in a backend's memory, padded with a pattern that must survive.
class HostMatrix {
 public:
  HostMatrix(Backend& backend, int64_t rows, int64_t cols)
      : stride_((cols + 15) / 16 * 16 + 16),
        buffer_(backend.allocate((rows + 1) * stride_)),
        matrix_{buffer_->data(), rows, cols, stride_} {
    std::fill_n(buffer_->data(), (rows + 1) * stride_, kPadding);
  }
  HostMatrix(Backend& backend, int64_t rows, int64_t cols, const Floats& values)
      : HostMatrix(backend, rows, cols) {
    for (int64_t t = 0; t < rows; ++t) {
      std::copy_n(values.begin() + t * cols, cols, matrix_.data + t * stride_);
    }
  }

  operator Matrix() const { return matrix_; }
  Floats values() const {
    Floats result;
    for (int64_t t = 0; t < matrix_.rows; ++t) {
      const float* row = matrix_.data + t * stride_;
      result.insert(result.end(), row, row + matrix_.cols);
      for (int64_t i = matrix_.cols; i < stride_; ++i) {
        EXPECT_EQ(row[i], kPadding) << "row " << t << " col " << i;
      }
    }
    return result;
  }

 private:
  static constexpr float kPadding = 1234.5f;
  int64_t stride_;
  std::unique_ptr<Buffer> buffer_;
  Matrix matrix_;
};

inline Vector vector_of(const std::unique_ptr<Buffer>& buffer) {
  return {buffer->data(), buffer->bytes() / 4};
}

// What a linear input holds is seen through a matrix with one code of 1 in each
// output: output n is the value of column n, as scale * code.
inline Floats seen_through_identity(Backend& backend,
                                    const LinearInput& input) {
  QuantizedLayout layout;
  RandomSource source(input.cols(), input.cols(), layout, 1);
  std::fill(source.matrix().codes.begin(), source.matrix().codes.end(),
            uint8_t{0});
  std::fill(source.matrix().scales.begin(), source.matrix().scales.end(), 1.0f);
  for (int64_t n = 0; n < input.cols(); ++n) {
    source.matrix().codes[n * input.cols() + n] = 1;
  }
  const auto packed = backend.pack(source);
  HostMatrix y(backend, input.rows, input.cols());
  const LinearOutput output{packed.get(), y};
  backend.linear(input, {&output, 1});
  return y.values();
}

inline Floats dequantized(const Activations& a) {
  Floats values;
  for (int64_t t = 0; t < a.rows; ++t) {
    for (int64_t k = 0; k < a.cols; ++k) values.push_back(a.value(t, k));
  }
  return values;
}

// 0 and -0 differ as bytes but are the same result.
inline void expect_same_bits(const Floats& found, const Floats& expected,
                             const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  int64_t different = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::memcmp(&found[i], &expected[i], 4) == 0) continue;
    if (found[i] == 0 && expected[i] == 0) continue;
    if (++different <= 3) {
      ADD_FAILURE() << what << ": element " << i << " is " << found[i]
                    << ", expected " << expected[i];
    }
  }
  ASSERT_EQ(different, 0) << what << ": of " << found.size();
}

// Runs once for each instruction set.
class CpuIsaTest : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    backend_ = backend_or_null(GetParam(), 2);
    if (!backend_) {
      GTEST_SKIP() << "this machine lacks " << GetParam();
    }
  }
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

inline std::string isa_name(
    const testing::TestParamInfo<std::string_view>& info) {
  return std::string(info.param);
}

#define CARAT_FOR_EACH_ISA(Fixture)                                         \
  INSTANTIATE_TEST_SUITE_P(Isa, Fixture, testing::ValuesIn(cpu::kIsaNames), \
                           isa_name)

}  // namespace carat

#endif  // CARAT_TESTS_BACKEND_CPU_FIXTURE_H_
