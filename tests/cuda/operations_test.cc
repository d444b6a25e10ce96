// Everything but linear layers on the GPU, against the reference backend.
#include <numeric>

#include "tests/cuda/cuda_fixture.h"

namespace carat {
namespace {

constexpr float kUnit = 0x1p-8f;    // of bf16
constexpr float kFloat = 0x1p-20f;  // f32, sums of a few thousand

using CudaOperations = CudaTest;

TEST_F(CudaOperations, EmbedIsScaleTimesCode) {
  const QuantizedLayout layouts[] = {
      {4, 32, 8, false}, {6, 16, 32, false}, {4, 64, 0, true}};
  for (const QuantizedLayout& layout : layouts) {
    const int64_t vocab = 300, cols = 640;
    const RandomWeights table(vocab, cols, layout, 1);
    const std::vector<int32_t> tokens = {0, 299, 63, 64, 17, 128, 17};
    const auto rows = static_cast<int64_t>(tokens.size());
    const Both x = on_both([&](Backend& backend) {
      const auto packed = backend.pack(table);
      const BackendMatrix out(backend, rows, cols);
      backend.embed(*packed, tokens, 25.25f, out);
      return out.values();
    });
    for (int64_t i = 0; i < rows * cols; ++i) {
      const int64_t at = tokens[i / cols] * cols + i % cols;
      ASSERT_NEAR(x.cuda[i], x.reference[i], 25.25f * table.rounding(at));
    }
  }
}

TEST_F(CudaOperations, RopeAnglesAreExact) {
  std::vector<double> frequencies;
  for (int i = 0; i < 128; ++i) {
    frequencies.push_back(std::pow(10000.0, -i / 128.0));
  }
  const SequenceRows sequences[] = {{0, 5, 0, {}}, {5, 3, 130000, {}}};
  const Both angles = on_both([&](Backend& backend) {
    const BackendMatrix out(backend, 8, 256);
    backend.rope_angles(sequences, frequencies, out);
    return out.values();
  });
  for (size_t i = 0; i < angles.cuda.size(); ++i) {
    ASSERT_NEAR(angles.cuda[i], angles.reference[i], 0x1p-23f) << i;
  }
}

TEST_F(CudaOperations, AddNormAddsAndNorms) {
  for (const int64_t cols : {80, 640, 2560, 10240}) {
    const int64_t rows = 5;
    for (const bool has_post : {false, true}) {
      const Both sums = on_both([&](Backend& backend) {
        const BackendMatrix x(backend, rows, cols, normals(rows * cols, 1, 9));
        const BackendMatrix y(backend, rows, cols, normals(rows * cols, 2));
        const auto post = backend.upload(normals(cols, 3));
        const auto next = backend.upload(normals(cols, 4));
        const auto out = backend.make_input(rows, cols);
        backend.add_norm(x, y, has_post ? vector_of(post) : Vector{},
                         vector_of(next), 1e-6f, out.get());
        return x.values();
      });
      EXPECT_LE(relative_error(sums.cuda, sums.reference), kFloat);
    }
  }
}

TEST_F(CudaOperations, GatherCopiesRows) {
  const Floats values = normals(7 * 96, 1);
  const BackendMatrix in(cuda(), 7, 96, values), out(cuda(), 3, 96);
  const int64_t rows[] = {6, 0, 6};
  cuda().gather(in, rows, out);
  const Floats found = out.values();
  for (int64_t i = 0; i < 3 * 96; ++i) {
    EXPECT_EQ(found[i], values[rows[i / 96] * 96 + i % 96]);
  }
  const int64_t bad[] = {0, 7, 1};
  EXPECT_THROW(cuda().gather(in, bad, out), Error);
}

struct Sequence {
  int64_t cached;
  int64_t rows;
};

struct AttentionCase {
  int heads, kv_heads, head_dim;
  int64_t window;
  float softcap;
};

// Fills a cache row by row (chunk 0: all at once), then attends with each
// sequence's last rows. Sees the result through the identity.
Floats attend(Backend& backend, const AttentionCase& c,
              const std::vector<Sequence>& sequences, bool one_by_one) {
  const int64_t q_width = int64_t{c.heads} * c.head_dim;
  const int64_t kv_width = int64_t{c.kv_heads} * c.head_dim;
  const auto kv = backend.make_kv({2, c.kv_heads, c.head_dim});
  kv->grow(200);
  const KvLayer layer{kv.get(), 1, CacheKind::kFull};
  std::vector<std::vector<int32_t>> ids;
  int32_t next = 199;  // descending, so that blocks are not in order
  int64_t rows = 0;
  for (const Sequence& s : sequences) {
    ids.emplace_back();
    for (int64_t at = 0; at < s.cached + s.rows; at += kBlockTokens) {
      ids.back().push_back(next--);
    }
    rows += s.rows;
  }
  const auto norm = backend.upload(normals(c.head_dim, 4));
  std::vector<double> frequencies;
  for (int i = 0; i < c.head_dim / 2; ++i) {
    frequencies.push_back(std::pow(10000.0, -2.0 * i / c.head_dim));
  }
  const auto fill = [&](size_t i, int64_t first, int64_t count, Matrix q) {
    SequenceRows part{0, count, first, {}};
    part.tables[0] = {ids[i], 0};
    const uint32_t seed = 100 + static_cast<uint32_t>(i);
    const auto slice = [&](int64_t width, uint32_t which) {
      const Floats all = normals(
          width * (sequences[i].cached + sequences[i].rows), seed + which);
      return Floats(all.begin() + first * width,
                    all.begin() + (first + count) * width);
    };
    const BackendMatrix k(backend, count, kv_width, slice(kv_width, 0));
    const BackendMatrix v(backend, count, kv_width, slice(kv_width, 1000));
    const BackendMatrix angles(backend, count, c.head_dim);
    backend.rope_angles({&part, 1}, frequencies, angles);
    HeadsInput in;
    in.q = q;
    in.k = k;
    in.v = v;
    in.q_norm = in.k_norm = vector_of(norm);
    in.norm_eps = 1e-6f;
    in.angles = angles;
    backend.heads(in, {&part, 1}, layer);
    backend.wait(backend.submit());
  };
  const BackendMatrix q(backend, rows, q_width, normals(rows * q_width, 50));
  std::vector<SequenceRows> batch;
  int64_t row = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    if (s.cached > 0) fill(i, 0, s.cached, {});
    Matrix own = q;
    own.data += row * own.stride;
    own.rows = s.rows;
    fill(i, s.cached, s.rows, own);
    batch.push_back({row, s.rows, s.cached, {}});
    batch.back().tables[0] = {ids[i], 0};
    row += s.rows;
  }
  const AttentionShape shape{
      c.heads,    c.kv_heads,
      c.head_dim, 1 / std::sqrt(static_cast<float>(c.head_dim)),
      c.softcap,  c.window};
  const auto out = backend.make_input(rows, q_width);
  if (!one_by_one) {
    backend.attention(q, batch, layer, shape, *out);
    return seen(backend, *out);
  }
  Floats result;
  for (const SequenceRows& sequence : batch) {
    for (int64_t t = 0; t < sequence.rows; ++t) {
      SequenceRows single = sequence;
      single.first_row = 0;
      single.rows = 1;
      single.first_position += t;
      Matrix own = q;
      own.data += (sequence.first_row + t) * own.stride;
      own.rows = 1;
      backend.attention(own, {&single, 1}, layer, shape, *out);
      const Floats values = seen(backend, *out);
      result.insert(result.end(), values.begin(), values.end());
    }
  }
  return result;
}

const AttentionCase kAttentionCases[] = {
    {4, 2, 64, 0, 0},    {8, 4, 256, 0, 0}, {4, 1, 256, 100, 0},
    {4, 2, 128, 64, 30}, {3, 1, 40, 7, 0},
};
const std::vector<Sequence> kBatches[] = {
    {{0, 1}}, {{0, 130}}, {{300, 1}}, {{63, 2}, {0, 70}, {190, 1}}};

TEST_F(CudaOperations, AttentionAgreesWithTheReference) {
  for (const AttentionCase& c : kAttentionCases) {
    for (const auto& batch : kBatches) {
      const Floats found = attend(cuda(), c, batch, false);
      const Floats expected = attend(reference(), c, batch, false);
      // f16 queries, keys, weights and values (2^-11 each), the result in bf16.
      EXPECT_LE(relative_error(found, expected), kUnit)
          << "head size " << c.head_dim << " window " << c.window << " batch "
          << batch.size();
    }
  }
}

TEST_F(CudaOperations, AttentionBitsDoNotDependOnTheBatch) {
  for (const AttentionCase& c : kAttentionCases) {
    for (const auto& batch : kBatches) {
      expect_same_bytes(attend(cuda(), c, batch, false),
                        attend(cuda(), c, batch, true),
                        "head size " + std::to_string(c.head_dim));
    }
  }
}

// The last layer appends a chunk's keys and attends with its last row alone,
// behind a kernel that still runs.
TEST_F(CudaOperations, AttentionSeesKeysThatTheSamePassAppended) {
  const AttentionCase c = {4, 1, 256, 0, 0};
  const int64_t q_width = c.heads * c.head_dim;
  const BackendMatrix q(cuda(), 1, q_width, normals(q_width, 50));
  const auto out = cuda().make_input(1, q_width);
  const std::vector<double> frequencies(c.head_dim / 2, 0.5);

  // One thread block, busy for a while.
  const int64_t busy_rows = 40, busy_cols = 16384;
  const auto busy_weight =
      cuda().pack(RandomWeights(64, busy_cols, {4, 32, 8, false}, 1));
  const auto busy_input = cuda().make_input(busy_rows, busy_cols);
  busy_input->rows = busy_rows;
  const BackendMatrix busy_out(cuda(), busy_rows, 64);
  const LinearOutput busy{busy_weight.get(), busy_out};

  for (const int64_t cached : {508, 2500}) {  // joint, split
    const int64_t rows = 69;
    const auto run = [&](bool waits) {
      const auto kv = cuda().make_kv({1, c.kv_heads, c.head_dim});
      kv->grow(64);
      const KvLayer layer{kv.get(), 0, CacheKind::kFull};
      std::vector<int32_t> ids(64);
      std::iota(ids.begin(), ids.end(), 0);
      const auto append = [&](int64_t first, int64_t count) {
        SequenceRows part{0, count, first, {}};
        part.tables[0] = {ids, 0};
        const Floats values = normals(count * c.head_dim, 7);
        const BackendMatrix k(cuda(), count, c.head_dim, values);
        const BackendMatrix v(cuda(), count, c.head_dim, values);
        const BackendMatrix angles(cuda(), count, c.head_dim);
        cuda().rope_angles({&part, 1}, frequencies, angles);
        cuda().wait(cuda().submit());
        HeadsInput in;
        in.k = k;
        in.v = v;
        in.angles = angles;
        cuda().linear(*busy_input, {&busy, 1});
        cuda().heads(in, {&part, 1}, layer);
        if (waits) cuda().wait(cuda().submit());
        SequenceRows last{0, 1, first + count - 1, {}};
        last.tables[0] = {ids, 0};
        const AttentionShape shape{c.heads,   c.kv_heads, c.head_dim,
                                   1 / 16.0f, c.softcap,  c.window};
        cuda().attention(q, {&last, 1}, layer, shape, *out);
        cuda().wait(cuda().submit());
      };
      append(0, cached);
      append(cached, rows);
      return seen(cuda(), *out);
    };
    const Floats expected = run(true);
    for (int i = 0; i < 3; ++i) {
      expect_same_bytes(run(false), expected, std::to_string(cached));
    }
  }
}

// Few rows: one kernel may do what heads() and attention() ask for.
TEST_F(CudaOperations, HeadsAndAttentionMayShareAKernel) {
  for (const AttentionCase& c : kAttentionCases) {
    for (const int64_t rows : {1, 3}) {
      for (const int64_t cached : {0, 63, 190, 1100, 1900}) {
        const int64_t q_width = int64_t{c.heads} * c.head_dim;
        const int64_t kv_width = int64_t{c.kv_heads} * c.head_dim;
        const int64_t end = cached + rows;
        const auto norm = cuda().upload(normals(c.head_dim, 4));
        const std::vector<double> frequencies(c.head_dim / 2, 0.5);
        const Floats k = normals(end * kv_width, 5);
        const Floats v = normals(end * kv_width, 6);
        const auto run = [&](bool waits) {
          const auto kv = cuda().make_kv({1, c.kv_heads, c.head_dim});
          kv->grow(40);
          const KvLayer layer{kv.get(), 0, CacheKind::kFull};
          std::vector<int32_t> ids(40);
          std::iota(ids.begin(), ids.end(), 0);
          const BackendMatrix q(cuda(), rows, q_width,
                                normals(rows * q_width, 50));
          const auto append = [&](int64_t first, int64_t count, Matrix own,
                                  LinearInput* out) {
            SequenceRows part{0, count, first, {}};
            part.tables[0] = {ids, 0};
            const auto slice = [&](const Floats& all) {
              return Floats(all.begin() + first * kv_width,
                            all.begin() + (first + count) * kv_width);
            };
            const BackendMatrix own_k(cuda(), count, kv_width, slice(k));
            const BackendMatrix own_v(cuda(), count, kv_width, slice(v));
            const BackendMatrix angles(cuda(), count, c.head_dim);
            cuda().rope_angles({&part, 1}, frequencies, angles);
            HeadsInput in;
            in.q = own;
            in.k = own_k;
            in.v = own_v;
            in.q_norm = in.k_norm = vector_of(norm);
            in.norm_eps = 1e-6f;
            in.angles = angles;
            cuda().heads(in, {&part, 1}, layer);
            if (out != nullptr) {
              if (waits) cuda().wait(cuda().submit());
              const AttentionShape shape{c.heads, c.kv_heads, c.head_dim,
                                         0.125f,  c.softcap,  c.window};
              cuda().attention(own, {&part, 1}, layer, shape, *out);
            }
            cuda().wait(cuda().submit());
          };
          if (cached > 0) append(0, cached, {}, nullptr);
          const auto out = cuda().make_input(rows, q_width);
          append(cached, rows, q, out.get());
          Floats result = seen(cuda(), *out);
          // What the cache now holds.
          SequenceRows last{0, 1, end - 1, {}};
          last.tables[0] = {ids, 0};
          const BackendMatrix other(cuda(), 1, q_width, normals(q_width, 51));
          cuda().attention(other, {&last, 1}, layer,
                           {c.heads, c.kv_heads, c.head_dim, 0.125f, 0, 0},
                           *out);
          const Floats cache = seen(cuda(), *out);
          result.insert(result.end(), cache.begin(), cache.end());
          return result;
        };
        expect_same_bytes(run(false), run(true),
                          "head size " + std::to_string(c.head_dim) + ", " +
                              std::to_string(cached) + " cached");
      }
    }
  }
}

// A chunk that starts and ends anywhere, in the 270M model's shape.
TEST_F(CudaOperations, AttentionBitsDoNotDependOnTheChunk) {
  const std::vector<Sequence> batches[] = {
      {{127, 127}}, {{508, 69}}, {{65, 66}}, {{575, 33}}};
  for (const int64_t window : {0, 512}) {
    const AttentionCase c = {4, 1, 256, window, 0};
    for (const auto& batch : batches) {
      const Floats alone = attend(cuda(), c, batch, true);
      expect_same_bytes(attend(cuda(), c, batch, false), alone,
                        std::to_string(batch[0].rows) + " rows after " +
                            std::to_string(batch[0].cached));
    }
  }
}

TEST_F(CudaOperations, TooMuchMemoryIsAnErrorAndNothingIsLost) {
  try {
    cuda().allocate(int64_t{1} << 42);
    FAIL() << "16 TiB were given";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
  const Floats values = normals(64, 1);
  const BackendMatrix matrix(cuda(), 1, 64, values);
  EXPECT_EQ(matrix.values(), values);
}

TEST(CudaDevice, OneThatDoesNotExistIsAnError) {
  try {
    make_backend({.name = "cuda", .device = 4711});
    FAIL() << "device 4711 exists";
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kDevice ||
                error.code() == ErrorCode::kUnsupported)
        << error.what();
  }
}

}  // namespace
}  // namespace carat
