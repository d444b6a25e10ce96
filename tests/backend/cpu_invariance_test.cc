// The same bits for every instruction set, number of threads and cut of rows:
// a small layer is run in many ways and compared as bytes, and with what other
// architectures gave.
#include <gtest/gtest.h>

#include "tests/backend/cpu_fixture.h"
#include "tests/bit_hash.h"

namespace carat {
namespace {

constexpr int64_t kRows = 90;
constexpr int64_t kHidden = 96;
constexpr int kHeads = 4;
constexpr int kKvHeads = 2;
constexpr int kHeadDim = 32;
constexpr int64_t kWidth = 160;

// The weights of one layer, and one way of running it.
class Layer {
 public:
  Layer(std::string_view isa, int threads)
      : backend_(backend_or_null(isa, threads)) {}
  bool is_supported() const { return backend_ != nullptr; }

  // Runs kRows rows in chunks of at most `chunk`; returns the layer's output.
  Floats run(int64_t chunk) {
    Backend& b = *backend_;
    const auto pack = [&](int64_t n, int64_t k, QuantizedLayout layout,
                          uint32_t seed) {
      return b.pack(RandomSource(n, k, layout, seed));
    };
    const QuantizedLayout q4 = {4, 32, 8, false}, q5 = {5, 32, 16, false};
    const QuantizedLayout q41 = {4, 32, 0, true}, q6 = {6, 16, 32, false, 256};
    const QuantizedLayout q8 = {8, 64, 128, false};
    const auto table = pack(50, kHidden, q8, 1);
    const auto q_proj = pack(kHeads * kHeadDim, kHidden, q4, 2);
    const auto k_proj = pack(kKvHeads * kHeadDim, kHidden, q5, 3);
    const auto v_proj = pack(kKvHeads * kHeadDim, kHidden, q6, 4);
    const auto o_proj = pack(kHidden, kHeads * kHeadDim, q41, 5);
    const auto gate = pack(kWidth, kHidden, q4, 6);
    const auto up = pack(kWidth, kHidden, q6, 7);
    const auto down = pack(kHidden, kWidth, q8, 8);
    Random random(4);
    const auto norm = b.upload(random.normals(kHidden));
    const auto head_norm = b.upload(random.normals(kHeadDim));
    const auto kv = b.make_kv({1, kKvHeads, kHeadDim});
    kv->grow(2);
    const int32_t ids[] = {1, 0};
    std::vector<int32_t> tokens;
    for (int64_t t = 0; t < kRows; ++t) {
      tokens.push_back(static_cast<int32_t>(t * 17 % 50));
    }
    std::vector<double> frequencies;
    for (int i = 0; i < kHeadDim / 2; ++i) {
      frequencies.push_back(1.0 / (1 + 37.0 * i));
    }
    AttentionShape shape;
    shape.heads = kHeads;
    shape.kv_heads = kKvHeads;
    shape.head_dim = kHeadDim;
    shape.scale = 0.2f;
    shape.window = 40;

    Floats result;
    for (int64_t first = 0; first < kRows; first += chunk) {
      const int64_t rows = std::min(chunk, kRows - first);
      SequenceRows sequence;
      sequence.rows = rows;
      sequence.first_position = first;
      sequence.tables[0].ids = ids;
      const std::span<const SequenceRows> batch{&sequence, 1};
      const HostMatrix x(b, rows, kHidden), y(b, rows, kHidden);
      const HostMatrix q(b, rows, kHeads * kHeadDim);
      const HostMatrix k(b, rows, kKvHeads * kHeadDim);
      const HostMatrix v(b, rows, kKvHeads * kHeadDim);
      const HostMatrix angles(b, rows, kHeadDim);
      const auto hidden = b.make_input(rows, kHidden);
      const auto attended = b.make_input(rows, kHeads * kHeadDim);
      const auto wide = b.make_input(rows, kWidth);
      b.embed(*table, std::span(tokens).subspan(first, rows), 9.8f, x);
      b.rope_angles(batch, frequencies, angles);
      b.norm(x, vector_of(norm), 1e-6f, *hidden);
      const LinearOutput outputs[] = {
          {q_proj.get(), q}, {k_proj.get(), k}, {v_proj.get(), v}};
      b.linear(*hidden, outputs);
      HeadsInput heads;
      heads.q = q;
      heads.k = k;
      heads.v = v;
      heads.q_norm = heads.k_norm = vector_of(head_norm);
      heads.norm_eps = 1e-6f;
      heads.angles = angles;
      const KvLayer layer = {kv.get(), 0, CacheKind::kFull};
      b.heads(heads, batch, layer);
      b.attention(q, batch, layer, shape, *attended);
      const LinearOutput output{o_proj.get(), y};
      b.linear(*attended, {&output, 1});
      b.add_norm(x, y, vector_of(norm), vector_of(norm), 1e-6f, hidden.get());
      b.gated_linear(*hidden, *gate, *up, Activation::kGeluTanh, *wide);
      const LinearOutput last{down.get(), y};
      b.linear(*wide, {&last, 1});
      b.add_norm(x, y, {}, vector_of(norm), 1e-6f, nullptr);
      const Floats values = x.values();
      result.insert(result.end(), values.begin(), values.end());
    }
    return result;
  }

 private:
  std::unique_ptr<Backend> backend_;
};

void expect_same_bytes(const Floats& found, const Floats& expected,
                       const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * 4), 0)
      << what;
}

TEST(CpuInvarianceTest, BitsDependOnTheRowAlone) {
  const Floats expected = Layer("portable", 1).run(kRows);
  for (const float x : expected) ASSERT_TRUE(std::isfinite(x));
  for (const std::string_view isa : cpu::kIsaNames) {
    for (const int threads : {1, 2, 3, 5}) {
      Layer layer(isa, threads);
      if (!layer.is_supported()) continue;
      for (const int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{64}, kRows}) {
        expect_same_bytes(layer.run(chunk), expected,
                          std::string(isa) + ", " + std::to_string(threads) +
                              " threads, chunks of " + std::to_string(chunk));
      }
    }
  }
}

// Computed on x86-64; every machine must find them. Only a change of
// docs/numerics.md may change them.
constexpr uint64_t kLayerHash = 0xc618dbc18e1fa17;
constexpr uint64_t kMathHash = 0x3df322abe38037db;

TEST(CpuInvarianceTest, LayerHasTheBitsOfOtherArchitectures) {
  for (const std::string_view isa : cpu::kIsaNames) {
    Layer layer(isa, 2);
    if (!layer.is_supported()) continue;
    EXPECT_EQ(hash_of(layer.run(kRows)), kLayerHash) << isa;
  }
}

TEST(CpuInvarianceTest, FunctionsHaveTheBitsOfOtherArchitectures) {
  using cpu::MathFunction;
  Floats x;
  for (int i = -40000; i <= 40000; ++i) {
    x.push_back(static_cast<float>(i) * 0x1.9p-9f);  // +-122
    x.push_back(static_cast<float>(i) * 0x1.1p-18f);
  }
  for (const std::string_view isa : cpu::kIsaNames) {
    if (!backend_or_null(isa, 1)) continue;
    uint64_t hash = hash_of(x);
    for (const MathFunction function :
         {MathFunction::kExp, MathFunction::kTanh, MathFunction::kGeluTanh,
          MathFunction::kSilu}) {
      Floats y(x.size());
      cpu::select_kernels(isa).evaluate(function, x.data(), y.data(),
                                        static_cast<int64_t>(x.size()));
      hash = hash_of(y, hash);
    }
    EXPECT_EQ(hash, kMathHash) << isa;
  }
}

}  // namespace
}  // namespace carat
