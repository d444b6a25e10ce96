#include <gtest/gtest.h>

#include "tests/backend/cpu_fixture.h"

namespace carat {
namespace {

struct Case {
  AttentionShape shape;
  const char* name;
};

AttentionShape shape_of(int heads, int kv_heads, int head_dim, int64_t window,
                        float softcap = 0) {
  AttentionShape shape;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = head_dim;
  shape.window = window;
  shape.softcap = softcap;
  shape.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  return shape;
}

// Queries, keys and values of a sequence's positions, and the cache they go to
// by chunks. Blocks are in no order and the cache starts full of other values.
class Conversation {
 public:
  Conversation(Backend& backend, const AttentionShape& shape, int64_t positions,
               uint32_t seed)
      : backend_(backend), shape_(shape), positions_(positions) {
    Random random(seed);
    const int64_t dim = shape.head_dim;
    q_ = random.normals(positions * shape.heads * dim, 2);
    k_ = random.normals(positions * shape.kv_heads * dim, 2);
    v_ = random.normals(positions * shape.kv_heads * dim);
    q_norm_ = random.normals(dim);
    k_norm_ = random.normals(dim);
    for (int64_t i = 0; i < dim / 2; ++i) {
      frequencies_.push_back(std::pow(1e4, -2.0 * i / dim));
    }
    kv_ = backend.make_kv({kLayers, shape.kv_heads, shape.head_dim});
    const int64_t blocks = (positions + 63) / 64;
    kv_->grow(2 * blocks + 1);
    for (int64_t i = 0; i < blocks; ++i) {
      ids_.push_back(static_cast<int32_t>((i * 7) % blocks * 2 + 1));
    }
    std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
    for (int32_t id = 1; static_cast<int64_t>(ids_.size()) < blocks; id += 2) {
      if (std::find(ids_.begin(), ids_.end(), id) == ids_.end()) {
        ids_.push_back(id);
      }
    }
    std::reverse(ids_.begin(), ids_.end());
  }

  // Runs rows [first, first + rows); returns the attention output's values.
  Floats run(int64_t first, int64_t rows) {
    const int64_t dim = shape_.head_dim;
    const int64_t q_cols = shape_.heads * dim;
    const int64_t kv_cols = shape_.kv_heads * dim;
    const auto part = [&](const Floats& x, int64_t cols) {
      return Floats(x.begin() + first * cols,
                    x.begin() + (first + rows) * cols);
    };
    const HostMatrix q(backend_, rows, q_cols, part(q_, q_cols));
    const HostMatrix k(backend_, rows, kv_cols, part(k_, kv_cols));
    const HostMatrix v(backend_, rows, kv_cols, part(v_, kv_cols));
    const HostMatrix angles(backend_, rows, dim);
    SequenceRows sequence;
    sequence.rows = rows;
    sequence.first_position = first;
    // Only the window's blocks are there.
    const int64_t begin =
        shape_.window > 0 ? std::max<int64_t>(0, first - shape_.window + 1) : 0;
    sequence.tables[1].first_block = begin / 64;
    sequence.tables[1].ids = std::span(ids_).subspan(begin / 64);
    backend_.rope_angles({&sequence, 1}, frequencies_, angles);
    const auto q_norm = backend_.upload(q_norm_);
    const auto k_norm = backend_.upload(k_norm_);
    HeadsInput heads;
    heads.q = q;
    heads.k = k;
    heads.v = v;
    heads.q_norm = vector_of(q_norm);
    heads.k_norm = vector_of(k_norm);
    heads.norm_eps = 1e-6f;
    heads.angles = angles;
    const KvLayer layer = {kv_.get(), kLayers - 1, CacheKind::kWindow};
    backend_.heads(heads, {&sequence, 1}, layer);
    const auto out = backend_.make_input(rows, q_cols);
    backend_.attention(q, {&sequence, 1}, layer, shape_, *out);
    return seen_through_identity(backend_, *out);
  }

  // What run() must give for one row.
  Floats expected(int64_t position) {
    fill_rotated();
    const int64_t dim = shape_.head_dim;
    const int64_t sharing = shape_.heads / shape_.kv_heads;
    Floats row;
    for (int64_t h = 0; h < shape_.heads; ++h) {
      const Floats query =
          rotated(&q_[(position * shape_.heads + h) * dim], q_norm_, position);
      const Floats o = numerics::attend(
          query, keys_[h / sharing], values_[h / sharing], position,
          {shape_.scale, shape_.softcap, shape_.window});
      row.insert(row.end(), o.begin(), o.end());
    }
    const auto cols = static_cast<int64_t>(row.size());
    return dequantized(numerics::quantize(row, 1, cols));
  }

 private:
  static constexpr int kLayers = 2;

  Floats rotated(const float* x, const Floats& norm, int64_t position) {
    const auto dim = static_cast<size_t>(shape_.head_dim);
    const HostMatrix angles(backend_, 1, shape_.head_dim);
    SequenceRows sequence;
    sequence.rows = 1;
    sequence.first_position = position;
    backend_.rope_angles({&sequence, 1}, frequencies_, angles);
    return numerics::rotate(numerics::rms_norm(Floats(x, x + dim), norm, 1e-6f),
                            angles.values());
  }

  void fill_rotated() {
    if (!keys_.empty()) return;
    const int64_t dim = shape_.head_dim;
    keys_.resize(shape_.kv_heads);
    values_.resize(shape_.kv_heads);
    for (int64_t t = 0; t < positions_; ++t) {
      for (int64_t h = 0; h < shape_.kv_heads; ++h) {
        const int64_t at = (t * shape_.kv_heads + h) * dim;
        for (float x : rotated(&k_[at], k_norm_, t)) {
          keys_[h].push_back(numerics::cached(x));
        }
        for (int64_t d = 0; d < dim; ++d) {
          values_[h].push_back(numerics::cached(v_[at + d]));
        }
      }
    }
  }

  Backend& backend_;
  AttentionShape shape_;
  int64_t positions_;
  Floats q_, k_, v_, q_norm_, k_norm_;
  std::vector<double> frequencies_;
  std::unique_ptr<KvStorage> kv_;
  std::vector<int32_t> ids_;
  std::vector<Floats> keys_, values_;  // by kv head, as the cache holds them
};

class CpuAttentionTest : public CpuIsaTest {
 protected:
  void expect_rows(const AttentionShape& shape, int64_t positions,
                   const std::vector<int64_t>& chunks,
                   const std::vector<int64_t>& checked,
                   const std::string& what) {
    Conversation conversation(backend(), shape, positions, 17);
    const int64_t cols = int64_t{shape.heads} * shape.head_dim;
    Floats found;
    for (const int64_t rows : chunks) {
      const Floats part =
          conversation.run(static_cast<int64_t>(found.size()) / cols, rows);
      found.insert(found.end(), part.begin(), part.end());
    }
    ASSERT_EQ(static_cast<int64_t>(found.size()), positions * cols);
    for (const int64_t position : checked) {
      const auto row = found.begin() + position * cols;
      expect_same_bits(Floats(row, row + cols), conversation.expected(position),
                       what + " position " + std::to_string(position));
    }
  }
};

TEST_P(CpuAttentionTest, ShapesAndWindowsMatchThePage) {
  const Case cases[] = {
      {shape_of(1, 1, 16, 0), "one head"},
      {shape_of(4, 1, 32, 0), "shared"},
      {shape_of(6, 2, 16, 0), "six heads"},
      {shape_of(2, 2, 24, 0), "24 wide"},
      {shape_of(3, 1, 8, 0), "8 wide"},
      {shape_of(4, 2, 64, 70), "window"},
      {shape_of(2, 1, 32, 64), "window of a block"},
      {shape_of(2, 1, 32, 1), "window of one"},
      {shape_of(4, 2, 32, 0, 20), "softcap"},
      {shape_of(2, 1, 80, 33), "80 wide"},
  };
  for (const Case& c : cases) {
    std::vector<int64_t> all;
    for (int64_t t = 0; t < 150; t += t < 140 ? 7 : 1) all.push_back(t);
    expect_rows(c.shape, 150, {100, 1, 1, 37, 11}, all, c.name);
  }
}

// Spans of 1024 positions: one, two and three of them, whole, cut by a window,
// in prefill and in single steps.
TEST_P(CpuAttentionTest, SpansMatchThePage) {
  const std::vector<int64_t> checked = {0,    1,    1022, 1023, 1024, 1025,
                                        1090, 1535, 2047, 2048, 2049, 2070};
  const std::vector<int64_t> chunks = {1000, 1, 100, 400, 546, 1, 1, 1, 21};
  expect_rows(shape_of(2, 1, 16, 0), 2071, chunks, checked, "full");
  expect_rows(shape_of(3, 1, 16, 600), 2071, chunks, checked, "window");
  expect_rows(shape_of(2, 2, 16, 1024), 2071, chunks, checked, "wide window");
}

// Scores far apart: softmax must not overflow, and small weights vanish.
TEST_P(CpuAttentionTest, LargeScoresMatchThePage) {
  AttentionShape shape = shape_of(2, 1, 32, 0);
  shape.scale = 8;
  expect_rows(shape, 130, {130}, {0, 1, 64, 100, 129}, "large");
}

// Several sequences in a batch do not see each other.
TEST_P(CpuAttentionTest, SequencesAreApart) {
  const AttentionShape shape = shape_of(2, 1, 16, 0);
  const auto kv = backend().make_kv({1, 1, 16});
  kv->grow(4);
  const int32_t ids[2][2] = {{3, 0}, {1, 2}};
  const int64_t rows[2] = {70, 5};
  SequenceRows sequences[2];
  for (int s = 0; s < 2; ++s) {
    sequences[s].first_row = s == 0 ? 0 : 70;
    sequences[s].rows = rows[s];
    sequences[s].tables[0].ids = ids[s];
  }
  Random random(3);
  const Floats q = random.normals(75 * 32);
  const Floats k = random.normals(75 * 16), v = random.normals(75 * 16);
  const auto run = [&](std::span<const SequenceRows> batch, int64_t first,
                       int64_t count) {
    const auto cut = [&](const Floats& x, int64_t cols) {
      return HostMatrix(
          backend(), count, cols,
          Floats(x.begin() + first * cols, x.begin() + (first + count) * cols));
    };
    const HostMatrix q_rows = cut(q, 32), k_rows = cut(k, 16),
                     v_rows = cut(v, 16);
    const HostMatrix angles(backend(), count, 16);
    const std::vector<double> frequencies(8, 0.5);
    backend().rope_angles(batch, frequencies, angles);
    HeadsInput heads;
    heads.q = q_rows;
    heads.k = k_rows;
    heads.v = v_rows;
    heads.angles = angles;
    const KvLayer layer = {kv.get(), 0, CacheKind::kFull};
    backend().heads(heads, batch, layer);
    const auto out = backend().make_input(count, 32);
    backend().attention(q_rows, batch, layer, shape, *out);
    return seen_through_identity(backend(), *out);
  };
  const Floats together = run(sequences, 0, 75);
  SequenceRows second = sequences[1];
  second.first_row = 0;
  Floats apart = run({sequences, 1}, 0, 70);
  const Floats rest = run({&second, 1}, 70, 5);
  apart.insert(apart.end(), rest.begin(), rest.end());
  expect_same_bits(together, apart, "sequences");
}

TEST_P(CpuAttentionTest, RefusesPositionsWithoutABlock) {
  const auto kv = backend().make_kv({1, 1, 16});
  kv->grow(1);
  const int32_t ids[] = {0};
  SequenceRows sequence;
  sequence.rows = 1;
  sequence.first_position = 64;
  sequence.tables[0].ids = ids;
  const HostMatrix q(backend(), 1, 16, Floats(16));
  const auto out = backend().make_input(1, 16);
  const KvLayer layer = {kv.get(), 0, CacheKind::kFull};
  EXPECT_THROW(backend().attention(q, {&sequence, 1}, layer,
                                   shape_of(1, 1, 16, 0), *out),
               Error);
}

CARAT_FOR_EACH_ISA(CpuAttentionTest);

}  // namespace
}  // namespace carat
