#include <gtest/gtest.h>

#include "tests/backend/cpu_fixture.h"

namespace carat {
namespace {

class CpuRowsTest : public CpuIsaTest {
 protected:
  std::unique_ptr<Buffer> upload(const Floats& x) {
    return backend().upload(x);
  }
};

TEST_P(CpuRowsTest, NormMatchesThePage) {
  for (const int64_t cols : {1, 15, 16, 33, 64, 200, 640}) {
    Random random(static_cast<uint32_t>(cols));
    const int64_t rows = 5;
    // Rows of very different sizes.
    Floats x = random.normals(rows * cols);
    for (int64_t i = 0; i < cols; ++i) x[i] *= 1e-20f;
    for (int64_t i = cols; i < 2 * cols; ++i) x[i] *= 1e15f;
    for (int64_t i = 2 * cols; i < 3 * cols; ++i) x[i] = 0;
    const Floats weight = random.normals(cols);
    const auto uploaded = upload(weight);
    const HostMatrix matrix(backend(), rows, cols, x);
    const auto out = backend().make_input(rows, cols);
    backend().norm(matrix, vector_of(uploaded), 1e-6f, *out);
    ASSERT_EQ(out->rows, rows);
    expect_same_bits(seen_through_identity(backend(), *out),
                     dequantized(numerics::quantize(
                         numerics::rms_norm(x, weight, 1e-6f), rows, cols)),
                     std::to_string(cols) + " columns");
  }
}

TEST_P(CpuRowsTest, AddNormMatchesThePage) {
  const int64_t rows = 7;
  for (const int64_t cols : {40, 96}) {
    Random random(static_cast<uint32_t>(cols));
    const Floats x = random.normals(rows * cols);
    const Floats y = random.normals(rows * cols);
    const Floats post = random.normals(cols), next = random.normals(cols);
    const auto post_buffer = upload(post), next_buffer = upload(next);
    for (const bool has_post : {false, true}) {
      for (const bool has_out : {false, true}) {
        Floats expected = has_post ? numerics::rms_norm(y, post, 1e-5f) : y;
        for (size_t i = 0; i < x.size(); ++i) expected[i] = x[i] + expected[i];
        const HostMatrix found(backend(), rows, cols, x);
        const HostMatrix branch(backend(), rows, cols, y);
        const auto out = backend().make_input(rows, cols);
        backend().add_norm(found, branch,
                           has_post ? vector_of(post_buffer) : Vector{},
                           has_out ? vector_of(next_buffer) : Vector{}, 1e-5f,
                           has_out ? out.get() : nullptr);
        expect_same_bits(found.values(), expected, "x");
        if (!has_out) continue;
        expect_same_bits(
            seen_through_identity(backend(), *out),
            dequantized(numerics::quantize(
                numerics::rms_norm(expected, next, 1e-5f), rows, cols)),
            "out");
      }
    }
  }
}

// Values that are not finite spoil their own group at most, and no other row.
TEST_P(CpuRowsTest, NotFiniteValuesStayInTheirRow) {
  const int64_t rows = 3, cols = 64;
  Random random(1);
  Floats x = random.normals(rows * cols);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    x[cols + 3] = bad;
    const Floats weight(cols, 1.0f);
    const auto uploaded = upload(weight);
    const HostMatrix matrix(backend(), rows, cols, x);
    const auto out = backend().make_input(rows, cols);
    backend().norm(matrix, vector_of(uploaded), 1e-6f, *out);
    const Floats found = seen_through_identity(backend(), *out);
    for (const int64_t row : {0, 2}) {
      const Floats alone(x.begin() + row * cols, x.begin() + (row + 1) * cols);
      expect_same_bits(
          Floats(found.begin() + row * cols, found.begin() + (row + 1) * cols),
          dequantized(numerics::quantize(
              numerics::rms_norm(alone, weight, 1e-6f), 1, cols)),
          "a row beside it");
    }
  }
}

TEST_P(CpuRowsTest, RopeAnglesAreRoundedExactly) {
  std::vector<double> frequencies;
  for (int i = 0; i < 20; ++i) frequencies.push_back(std::pow(1e4, -i / 20.0));
  SequenceRows first, second;
  first.rows = 3;
  second.first_row = 3;
  second.rows = 2;
  second.first_position = 131071;
  const SequenceRows sequences[] = {first, second};
  HostMatrix angles(backend(), 5, 40);
  backend().rope_angles(sequences, frequencies, angles);
  const Floats found = angles.values();
  const int64_t positions[] = {0, 1, 2, 131071, 131072};
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 20; ++i) {
      const double angle = static_cast<double>(positions[t]) * frequencies[i];
      // One rounding to f32 of a nearly exact value.
      EXPECT_NEAR(found[t * 40 + i], std::cos(angle), 0x1p-24);
      EXPECT_NEAR(found[t * 40 + 20 + i], std::sin(angle), 0x1p-24);
    }
  }
}

TEST_P(CpuRowsTest, GatherAndReadCopyRows) {
  Random random(2);
  const Floats x = random.normals(6 * 21);
  const HostMatrix in(backend(), 6, 21, x);
  HostMatrix out(backend(), 3, 21);
  const int64_t rows[] = {5, 0, 5};
  backend().gather(in, rows, out);
  const Floats found = out.values();
  Floats row(21);
  for (int64_t i = 0; i < 3; ++i) {
    backend().read(in, rows[i], row.data());
    for (int64_t c = 0; c < 21; ++c) {
      EXPECT_EQ(found[i * 21 + c], x[rows[i] * 21 + c]);
      EXPECT_EQ(row[c], x[rows[i] * 21 + c]);
    }
  }
  const int64_t outside[] = {6};
  HostMatrix one(backend(), 1, 21);
  EXPECT_THROW(backend().gather(in, outside, one), Error);
  const int64_t ticket = backend().submit();
  backend().wait(ticket);
  EXPECT_GT(backend().submit(), ticket);
}

CARAT_FOR_EACH_ISA(CpuRowsTest);

}  // namespace
}  // namespace carat
