#include <gtest/gtest.h>

#include "backend/cpu/isa.h"
#include "backend/cpu/rope_angles.h"
#include "tests/backend/cpu_fixture.h"

namespace carat {
namespace {

using cpu::MathFunction;

class CpuMathTest : public CpuIsaTest {
 protected:
  Floats evaluate(MathFunction function, const Floats& x) {
    Floats y(x.size());
    cpu::select_kernels(GetParam())
        .evaluate(function, x.data(), y.data(), static_cast<int64_t>(x.size()));
    return y;
  }
};

// Arguments of every size, and those where the result's exponent changes.
Floats arguments(float limit) {
  Random random(5);
  Floats x = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-8f, 1.0f, -1.0f};
  for (int i = 0; i < 20000; ++i) {
    x.push_back((static_cast<float>(random.below(1 << 24)) / (1 << 23) - 1) *
                limit);
  }
  for (int n = -125; n <= 127; ++n) {
    const float edge = (static_cast<float>(n) + 0.5f) * 0.6931472f;
    if (std::fabs(edge) <= limit) {
      for (float e :
           {edge, std::nextafter(edge, 0.0f), std::nextafter(edge, 1e3f)}) {
        x.push_back(e);
      }
    }
  }
  return x;
}

double units_in_last_place(float found, long double exact) {
  const double unit =
      std::ldexp(1.0, std::ilogb(static_cast<double>(exact)) - 23);
  return std::fabs(static_cast<double>(found - exact)) / unit;
}

TEST_P(CpuMathTest, ExpIsWithinTwoUnits) {
  const Floats x = arguments(87.0f);
  const Floats y = evaluate(MathFunction::kExp, x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(
        worst,
        units_in_last_place(y[i], std::exp(static_cast<long double>(x[i]))));
    ASSERT_EQ(y[i], numerics::exp(x[i])) << x[i];
  }
  EXPECT_LT(worst, 2.0);
  const float infinity = std::numeric_limits<float>::infinity();
  const Floats special =
      evaluate(MathFunction::kExp, {0.0f, -0.0f, -infinity, -88.0f, 89.0f});
  EXPECT_EQ(special[0], 1.0f);
  EXPECT_EQ(special[1], 1.0f);
  EXPECT_EQ(special[2], 0.0f);
  EXPECT_EQ(special[3], 0.0f);
  EXPECT_TRUE(std::isfinite(special[4]));
}

TEST_P(CpuMathTest, TanhIsWithinTwoUnitsOfOne) {
  const Floats x = arguments(20.0f);
  const Floats y = evaluate(MathFunction::kTanh, x);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(y[i], std::tanh(static_cast<long double>(x[i])), 0x1p-22)
        << x[i];
    ASSERT_EQ(y[i], numerics::tanh(x[i])) << x[i];
    ASSERT_LE(std::fabs(y[i]), 1.0f);
  }
}

TEST_P(CpuMathTest, ActivationsAreTheirFormulas) {
  const Floats x = arguments(30.0f);
  const Floats gelu = evaluate(MathFunction::kGeluTanh, x);
  const Floats silu = evaluate(MathFunction::kSilu, x);
  for (size_t i = 0; i < x.size(); ++i) {
    const long double v = x[i];
    const long double u =
        std::sqrt(2 / std::acos(-1.0L)) * (v + 0.044715L * v * v * v);
    const double size = std::fabs(x[i]);
    ASSERT_NEAR(gelu[i], 0.5L * v * (1 + std::tanh(u)), 1e-30 + 2e-6 * size)
        << x[i];
    ASSERT_NEAR(silu[i], v / (1 + std::exp(-v)), 1e-30 + 5e-7 * size) << x[i];
    ASSERT_EQ(gelu[i], numerics::gelu_tanh(x[i])) << x[i];
    ASSERT_EQ(silu[i], numerics::silu(x[i])) << x[i];
  }
}

TEST(CpuSineCosineTest, IsAccurateToAMillionRadians) {
  Random random(9);
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const double scale =
        std::pow(10.0, static_cast<double>(random.below(13)) - 6);
    const double angle =
        static_cast<double>(random.below(1 << 30)) / (1 << 30) * scale;
    const cpu::SineCosine at = cpu::sine_cosine(angle);
    const long double exact = angle;
    worst = std::max(
        {worst, static_cast<double>(std::fabs(at.sine - std::sin(exact))),
         static_cast<double>(std::fabs(at.cosine - std::cos(exact)))});
  }
  EXPECT_LT(worst, 0x1p-51);
  for (int n = 0; n <= 1000000; n += 997) {
    const double angle = n;
    const cpu::SineCosine at = cpu::sine_cosine(angle);
    ASSERT_NEAR(at.sine, std::sin(static_cast<long double>(angle)), 0x1p-51);
    ASSERT_NEAR(at.cosine, std::cos(static_cast<long double>(angle)), 0x1p-51);
  }
  EXPECT_EQ(cpu::sine_cosine(0).sine, 0.0);
  EXPECT_EQ(cpu::sine_cosine(0).cosine, 1.0);
}

TEST(CpuIsaNamesTest, UnknownNamesAreRefused) {
  try {
    make_cpu_backend("sse9", 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("portable"), std::string::npos);
  }
  EXPECT_THROW(make_cpu_backend("auto", -1), Error);
  EXPECT_EQ(make_cpu_backend("portable", 3)->threads(), 3);
  EXPECT_EQ(make_cpu_backend("portable", 1)->name(), "cpu portable");
}

CARAT_FOR_EACH_ISA(CpuMathTest);

}  // namespace
}  // namespace carat
