// Linear layers on the GPU: within the bound that rounding to bf16 allows, and
// the same bits for every number of rows.
#include "tests/cuda/linear_fixture.h"

namespace carat {
namespace {

struct Case {
  QuantizedLayout layout;
  const char* name;
};
const Case kCases[] = {
    {{4, 32, 8, false}, "q4_0"},   {{4, 32, 0, true}, "q4_1"},
    {{4, 64, 0, true}, "mlx4_64"}, {{4, 128, 0, true}, "mlx4_128"},
    {{8, 32, 128, false}, "q8_0"}, {{6, 16, 32, false}, "q6_k"},
    {{5, 32, 0, true}, "q5_k"},    {{8, 64, 0, true}, "mlx8_64"},
    {{2, 16, 0, true}, "q2_k"},    {{3, 16, 4, false}, "q3_k"},
    {{5, 32, 16, false}, "q5_0"},  {{8, 32, 0, false}, "no zero point"},
};

Floats multiply(Backend& backend, const RandomWeights& source, const Floats& x,
                int64_t rows) {
  const auto weight = backend.pack(source);
  EXPECT_EQ(weight->bytes(), backend.packed_bytes(source.rows(), source.cols(),
                                                  source.layout()));
  const auto input = normed_input(backend, x, rows, source.cols());
  const BackendMatrix y(backend, rows, source.rows());
  const LinearOutput output{weight.get(), y};
  backend.linear(*input, {&output, 1});
  return y.values();
}

using CudaLinear = CudaTest;

TEST_F(CudaLinear, StaysWithinTheBoundOfItsRoundings) {
  for (const Case& c : kCases) {
    for (const int64_t rows : {1, 20, 70}) {
      SCOPED_TRACE(std::string(c.name) + ", rows " + std::to_string(rows));
      const int64_t outputs = 200, cols = rows == 20 ? 96 : 1152;
      const RandomWeights source(outputs, cols, c.layout, 3);
      const Floats x = normals(rows * cols, 5);
      const Floats found = multiply(cuda(), source, x, rows);
      const Floats exact = normed(x, cols);
      for (int64_t t = 0; t < rows; ++t) {
        SCOPED_TRACE("row " + std::to_string(t));
        expect_within_bound(std::span(found).subspan(t * outputs, outputs),
                            std::span(exact).subspan(t * cols, cols), source);
      }
    }
  }
}

TEST_F(CudaLinear, BitsDoNotDependOnTheNumberOfRows) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const int64_t outputs = 328, cols = 2112, most = 700;
    const RandomWeights source(outputs, cols, c.layout, 7);
    const Floats x = normals(most * cols, 11);
    const Floats all = multiply(cuda(), source, x, most);
    for (const int64_t rows : {1, 3, 8, 9, 16, 32, 33, 64, 97, 200, 577}) {
      const Floats some = multiply(
          cuda(), source, Floats(x.begin(), x.begin() + rows * cols), rows);
      expect_same_bytes(some, Floats(all.begin(), all.begin() + rows * outputs),
                        std::to_string(rows) + " rows");
    }
  }
}

// A long K with few outputs and rows, which thread blocks then share; an odd
// number of tiles, and outputs that are no multiple of four.
TEST_F(CudaLinear, BitsDoNotDependOnSharingALongK) {
  const int64_t outputs = 1210, cols = 10200, most = 600;
  for (const QuantizedLayout& layout :
       {QuantizedLayout{4, 32, 8, false}, QuantizedLayout{8, 64, 0, true}}) {
    SCOPED_TRACE(layout.bits);
    const RandomWeights source(outputs, cols, layout, 7);
    const Floats x = normals(most * cols, 11);
    const Floats all = multiply(cuda(), source, x, most);
    for (const int64_t rows : {1, 33, 64, 65, 128, 200}) {
      const Floats some = multiply(
          cuda(), source, Floats(x.begin(), x.begin() + rows * cols), rows);
      expect_same_bytes(some, Floats(all.begin(), all.begin() + rows * outputs),
                        std::to_string(rows) + " rows");
    }
  }
}

// The norm that follows then adds the sums itself, unless something is launched
// between them: the same bits, of y too.
TEST_F(CudaLinear, ANormMayJoinTheSumsOfALongK) {
  const int64_t outputs = 1210, cols = 10200;
  const RandomWeights source(outputs, cols, {4, 32, 8, false}, 7);
  const auto weight = cuda().pack(source);
  const auto post = cuda().upload(normals(outputs, 17));
  const auto next = cuda().upload(normals(outputs, 19));
  for (const int64_t rows : {33, 64, 128}) {
    SCOPED_TRACE(rows);
    const auto input =
        normed_input(cuda(), normals(rows * cols, 11), rows, cols);
    const auto run = [&](bool at_once) {
      const BackendMatrix x(cuda(), rows, outputs, normals(rows * outputs, 3));
      const BackendMatrix y(cuda(), rows, outputs);
      const auto hidden = cuda().make_input(rows, outputs);
      const LinearOutput output{weight.get(), y};
      cuda().linear(*input, {&output, 1});
      if (!at_once) cuda().wait(cuda().submit());
      cuda().add_norm(x, y, vector_of(post), vector_of(next), 1e-6f,
                      hidden.get());
      Floats all = x.values();
      for (const Floats& more : {y.values(), seen(cuda(), *hidden)}) {
        all.insert(all.end(), more.begin(), more.end());
      }
      return all;
    };
    expect_same_bytes(run(true), run(false), "joined by the norm");
  }
}

// Row counts and places as the chunks of a prompt have them: a row's bits are
// those it has in one pass over all rows. Shapes of the 270M model.
TEST_F(CudaLinear, BitsDoNotDependOnTheChunkOfARow) {
  struct Shape {
    int64_t outputs, cols;
  };
  const Shape shapes[] = {{1024, 640}, {640, 1024}, {640, 2048}, {2048, 640}};
  const int64_t total = 577;
  for (const int kind : {0, 1, 4, 5, 6, 10}) {
    for (const Shape& shape : shapes) {
      const auto [outputs, cols] = shape;
      SCOPED_TRACE(std::string(kCases[kind].name) + ", " +
                   std::to_string(outputs) + " x " + std::to_string(cols));
      const RandomWeights source(outputs, cols, kCases[kind].layout, 31);
      const auto weight = cuda().pack(source);
      const BackendMatrix x(cuda(), total, cols, normals(total * cols, 37));
      const auto ones = cuda().upload(Floats(static_cast<size_t>(cols), 1.0f));
      const auto input = cuda().make_input(total, cols);
      // Every chunk in turn through one input, as in a prefill.
      const auto run = [&, outputs = outputs](int64_t chunk) {
        const BackendMatrix y(cuda(), total, outputs);
        for (int64_t first = 0; first < total; first += chunk) {
          const int64_t rows = std::min(chunk, total - first);
          const auto part = [&](Matrix all) {
            all.data += first * all.stride;
            all.rows = rows;
            return all;
          };
          cuda().norm(part(x), vector_of(ones), 0, *input);
          const LinearOutput output{weight.get(), part(y)};
          cuda().linear(*input, {&output, 1});
        }
        return y.values();
      };
      const Floats expected = run(total);
      for (int64_t chunk = 1; chunk <= 130; chunk += chunk < 65 ? 9 : 7) {
        expect_same_bytes(run(chunk), expected,
                          "chunk " + std::to_string(chunk));
      }
      expect_same_bytes(run(127), expected, "chunk 127");
    }
  }
}

TEST_F(CudaLinear, SeveralWeightsOfDifferentKindsShareAnInput) {
  const int64_t rows = 50, cols = 640;
  const RandomWeights sources[] = {
      {192, cols, kCases[0].layout, 1}, {72, cols, kCases[5].layout, 2},
      {64, cols, kCases[1].layout, 3},  {8, cols, kCases[4].layout, 4},
      {130, cols, kCases[2].layout, 5}, {64, cols, kCases[3].layout, 6}};
  const Floats x = normals(rows * cols, 9);
  const auto input = normed_input(cuda(), x, rows, cols);
  std::vector<std::unique_ptr<PackedMatrix>> weights;
  std::vector<std::unique_ptr<BackendMatrix>> found;
  std::vector<LinearOutput> outputs;
  for (const RandomWeights& source : sources) {
    weights.push_back(cuda().pack(source));
    found.push_back(
        std::make_unique<BackendMatrix>(cuda(), rows, source.rows()));
    outputs.push_back({weights.back().get(), *found.back()});
  }
  cuda().linear(*input, outputs);
  for (size_t i = 0; i < found.size(); ++i) {
    expect_same_bytes(found[i]->values(), multiply(cuda(), sources[i], x, rows),
                      "weight " + std::to_string(i));
  }
}

TEST_F(CudaLinear, GatedAgreesWithTheReferenceAndInBits) {
  const int64_t hidden = 328, cols = 1152, most = 130;
  const int pairs[][2] = {{0, 0}, {1, 2}, {4, 5}, {2, 7}};
  for (const auto& pair : pairs) {
    const RandomWeights gate(hidden, cols, kCases[pair[0]].layout, 21);
    const RandomWeights up(hidden, cols, kCases[pair[1]].layout, 22);
    const Floats x = normals(most * cols, 23);
    for (const Activation activation :
         {Activation::kGeluTanh, Activation::kSilu}) {
      const auto run = [&](Backend& backend, int64_t rows) {
        const auto gates = backend.pack(gate), ups = backend.pack(up);
        const auto input = normed_input(
            backend, Floats(x.begin(), x.begin() + rows * cols), rows, cols);
        const auto out = backend.make_input(rows, hidden);
        backend.gated_linear(*input, *gates, *ups, activation, *out);
        return seen(backend, *out);
      };
      const Floats all = run(cuda(), most);
      // bf16 of x, of weights up to three times and of the result, and a slope
      // of the activation up to 1.13, for errors of one size and random sign.
      EXPECT_LE(relative_error(all, run(reference(), most)), 2.25f * kUnit);
      for (const int64_t rows : {1, 9, 32, 33, 100}) {
        expect_same_bytes(run(cuda(), rows),
                          Floats(all.begin(), all.begin() + rows * hidden),
                          std::to_string(rows) + " rows");
      }
    }
  }
}

TEST_F(CudaLinear, BadShapesAreErrors) {
  const RandomWeights source(64, 128, kCases[0].layout, 1);
  const auto weight = cuda().pack(source);
  const auto input = cuda().make_input(4, 64);
  input->rows = 4;
  const BackendMatrix y(cuda(), 4, 64);
  const LinearOutput output{weight.get(), y};
  EXPECT_THROW(cuda().linear(*input, {&output, 1}), Error);
}

}  // namespace
}  // namespace carat
