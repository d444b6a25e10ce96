// Attention row by row, as decode asks for it, against one pass over the same
// rows, as a prefill does: the same bits for every head size and group, and on
// both sides of 2048 keys, where decode takes another kernel.
#include <algorithm>
#include <initializer_list>
#include <numeric>

#include "tests/cuda/cuda_fixture.h"

namespace carat {
namespace {

constexpr float kUnit = 0x1p-8f;  // of bf16

struct Shape {
  int kv_heads, group, head_dim;
  int64_t window;

  int64_t q_width() const { return int64_t{kv_heads} * group * head_dim; }
  int64_t kv_width() const { return int64_t{kv_heads} * head_dim; }
  std::string name() const {
    return "head size " + std::to_string(head_dim) + ", group of " +
           std::to_string(group) + ", window " + std::to_string(window);
  }
};

// Positions [0, end); queries from `first` on.
struct Rows {
  int64_t first, end;
  Floats q, k, v, norm;
};

Rows random_rows(const Shape& shape, int64_t first, int64_t end) {
  return {first,
          end,
          normals((end - first) * shape.q_width(), 1),
          normals(end * shape.kv_width(), 2),
          normals(end * shape.kv_width(), 3),
          normals(shape.head_dim, 4)};
}

// One layer of one sequence, its cache filled up to the first query.
class Layer {
 public:
  // `identity`: pack_identity() of the queries' columns.
  Layer(Backend& backend, const PackedMatrix& identity, const Shape& shape,
        const Rows& rows)
      : backend_(backend),
        identity_(identity),
        shape_(shape),
        first_(rows.first),
        q_(backend, rows.end - rows.first, shape.q_width(), rows.q),
        k_(backend, rows.end, shape.kv_width(), rows.k),
        v_(backend, rows.end, shape.kv_width(), rows.v),
        angles_(backend, rows.end, shape.head_dim),
        norm_(backend.upload(rows.norm)),
        out_(backend.make_input(rows.end - rows.first, shape.q_width())),
        kv_(backend.make_kv({1, shape.kv_heads, shape.head_dim})),
        ids_(static_cast<size_t>((rows.end - 1) / kBlockTokens + 1)) {
    kv_->grow(std::ssize(ids_));
    std::iota(ids_.rbegin(), ids_.rend(), 0);  // blocks are not in order
    std::vector<double> frequencies;
    for (int i = 0; i < shape.head_dim / 2; ++i) {
      frequencies.push_back(std::pow(10000.0, -2.0 * i / shape.head_dim));
    }
    const SequenceRows all{0, rows.end, 0, {}};
    backend.rope_angles({&all, 1}, frequencies, angles_);
    if (first_ > 0) heads(0, first_, {});
    backend.wait(backend.submit());
  }

  // What attention gives for rows [at, at + count), whose keys it appends.
  Floats pass(int64_t at, int64_t count) {
    const Matrix q = part(q_, at - first_, count);
    heads(at, count, q);
    const SequenceRows sequence = rows_of(at, count);
    const AttentionShape shape{
        shape_.kv_heads * shape_.group,
        shape_.kv_heads,
        shape_.head_dim,
        1 / std::sqrt(static_cast<float>(shape_.head_dim)),
        0,
        shape_.window};
    backend_.attention(q, {&sequence, 1}, layer(), shape, *out_);
    return seen(backend_, *out_, identity_);
  }
  // The same in passes of `step` rows, up to `end`.
  Floats passes(int64_t at, int64_t end, int64_t step) {
    Floats all;
    for (; at < end; at += step) {
      const Floats some = pass(at, std::min(step, end - at));
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

 private:
  static Matrix part(Matrix all, int64_t first, int64_t count) {
    return {all.data + first * all.stride, count, all.cols, all.stride};
  }
  KvLayer layer() const { return {kv_.get(), 0, CacheKind::kFull}; }

  // Blocks that left the window are no longer in the table.
  SequenceRows rows_of(int64_t at, int64_t count) const {
    SequenceRows rows{0, count, at, {}};
    const int64_t visible =
        shape_.window > 0 ? std::max<int64_t>(0, at - shape_.window + 1) : 0;
    const int64_t first_block = visible / kBlockTokens;
    rows.tables[0] = {std::span(ids_).subspan(static_cast<size_t>(first_block)),
                      first_block};
    return rows;
  }

  void heads(int64_t at, int64_t count, Matrix q) {
    const SequenceRows rows = rows_of(at, count);
    HeadsInput in;
    in.q = q;
    in.k = part(k_, at, count);
    in.v = part(v_, at, count);
    in.q_norm = in.k_norm = vector_of(norm_);
    in.norm_eps = 1e-6f;
    in.angles = part(angles_, at, count);
    backend_.heads(in, {&rows, 1}, layer());
  }

  Backend& backend_;
  const PackedMatrix& identity_;
  Shape shape_;
  int64_t first_;
  BackendMatrix q_, k_, v_, angles_;
  std::unique_ptr<Buffer> norm_;
  std::unique_ptr<LinearInput> out_;
  std::unique_ptr<KvStorage> kv_;
  std::vector<int32_t> ids_;
};

class CudaDecode : public CudaTest {
 protected:
  // Rows [rows.first, rows.end) in one pass and in passes of each number of
  // rows; and the last rows as the reference has them.
  void compare(const Shape& shape, const Rows& rows,
               std::initializer_list<int64_t> steps) {
    const auto identity = pack_identity(cuda(), shape.q_width());
    const auto other = pack_identity(reference(), shape.q_width());
    for (const int64_t window : {int64_t{0}, shape.window}) {
      Shape windowed = shape;
      windowed.window = window;
      SCOPED_TRACE(windowed.name() + ", after " + std::to_string(rows.first));
      const auto layer = [&] {
        return Layer(cuda(), *identity, windowed, rows);
      };
      const Floats prefill = layer().pass(rows.first, rows.end - rows.first);
      for (const int64_t step : steps) {
        expect_same_bytes(layer().passes(rows.first, rows.end, step), prefill,
                          "passes of " + std::to_string(step));
      }
      Rows last = rows;
      last.first = rows.end - kReferenceRows;
      last.q.assign(rows.q.end() - kReferenceRows * shape.q_width(),
                    rows.q.end());
      const Floats expected = Layer(reference(), *other, windowed, last)
                                  .pass(last.first, kReferenceRows);
      // As in AttentionAgreesWithTheReference.
      EXPECT_LE(relative_error(
                    Floats(prefill.end() - std::ssize(expected), prefill.end()),
                    expected),
                kUnit);
    }
  }

 private:
  static constexpr int64_t kReferenceRows = 2;
};

TEST_F(CudaDecode, HasThePrefillsBitsForEveryHeadSizeAndGroup) {
  for (const int head_dim : {80, 96, 128, 192, 256}) {
    for (const int group : {1, 2, 8}) {
      const Shape shape{group == 8 ? 1 : 2, group, head_dim, 70};
      compare(shape, random_rows(shape, 0, 150), {1, 2, 5});
    }
  }
}

// More than 2048 keys within the window, too: the first rows have fewer.
TEST_F(CudaDecode, HasThePrefillsBitsAfterALongContext) {
  for (const int head_dim : {80, 128, 256}) {
    for (const int group : {1, 2, 8}) {
      for (const int64_t first : {1990, 4000}) {
        const Shape shape{group == 8 ? 1 : 2, group, head_dim, 2200};
        compare(shape, random_rows(shape, first, first + 130), {1, 2});
      }
    }
  }
}

TEST_F(CudaDecode, HasThePrefillsBitsWithAShortWindowInALongContext) {
  for (const int64_t window : {512, 1024}) {
    const Shape shape{2, 2, 256, window};
    compare(shape, random_rows(shape, 4000, 4130), {1, 2});
  }
}

}  // namespace
}  // namespace carat
