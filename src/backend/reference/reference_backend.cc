#include "backend/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/reference/attention.h"
#include "backend/reference/dot.h"
#include "backend/reference/kv_storage.h"
#include "base/aligned_buffer.h"
#include "base/require.h"
#include "base/thread_pool.h"

namespace carat {
namespace reference {
namespace {

class HostBuffer : public Buffer {
 public:
  explicit HostBuffer(int64_t floats)
      : memory_(static_cast<size_t>(floats) * sizeof(float)) {}
  float* data() override { return memory_.as<float>(); }
  int64_t bytes() const override {
    return static_cast<int64_t>(memory_.bytes());
  }

 private:
  AlignedBuffer memory_;
};

class DenseMatrix : public PackedMatrix {
 public:
  DenseMatrix(int64_t rows, int64_t cols)
      : PackedMatrix(rows, cols),
        memory_(static_cast<size_t>(rows * cols) * sizeof(float)) {}
  int64_t bytes() const override {
    return static_cast<int64_t>(memory_.bytes());
  }
  float* row(int64_t n) { return memory_.as<float>() + n * cols(); }
  const float* row(int64_t n) const { return memory_.as<float>() + n * cols(); }

 private:
  AlignedBuffer memory_;
};

class DenseInput : public LinearInput {
 public:
  DenseInput(int64_t max_rows, int64_t cols)
      : LinearInput(max_rows, cols),
        memory_(static_cast<size_t>(max_rows * cols) * sizeof(float)) {}
  int64_t bytes() const override {
    return static_cast<int64_t>(memory_.bytes());
  }
  float* row(int64_t m) { return memory_.as<float>() + m * cols(); }
  const float* row(int64_t m) const { return memory_.as<float>() + m * cols(); }

 private:
  AlignedBuffer memory_;
};

const DenseMatrix& dense(const PackedMatrix& matrix) {
  return static_cast<const DenseMatrix&>(matrix);
}
const DenseInput& dense(const LinearInput& input) {
  return static_cast<const DenseInput&>(input);
}
DenseInput& dense(LinearInput& input) {
  return static_cast<DenseInput&>(input);
}
float* row(Matrix matrix, int64_t t) { return matrix.data + t * matrix.stride; }

// out = x / sqrt(mean(x^2) + eps) * weight
void rms_norm(const float* x, const float* weight, int64_t size, float eps,
              float* out) {
  const float mean = dot(x, x, size) / static_cast<float>(size);
  const float factor = 1.0f / std::sqrt(mean + eps);
  for (int64_t i = 0; i < size; ++i) out[i] = x[i] * factor * weight[i];
}

// Rotates the pairs (i, i + head_dim / 2); cosines, then sines.
void rotate(float* head, const float* angles, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    const float cosine = angles[i], sine = angles[i + half];
    head[i] = a * cosine - b * sine;
    head[i + half] = b * cosine + a * sine;
  }
}

float activate(float x, Activation activation) {
  if (activation == Activation::kSilu) return x / (1.0f + std::exp(-x));
  constexpr float kSqrt2OverPi = 0.7978845608028654f;
  return 0.5f * x *
         (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

// A thread's share of output columns is walked for all rows before the next
// weight row is read: weights are larger than caches, activations are not.
void multiply(const DenseInput& input, const DenseMatrix& weight, int64_t begin,
              int64_t end, Matrix output) {
  for (int64_t n = begin; n < end; ++n) {
    for (int64_t m = 0; m < input.rows; ++m) {
      row(output, m)[n] = dot(input.row(m), weight.row(n), weight.cols());
    }
  }
}

class ReferenceBackend : public Backend {
 public:
  ReferenceBackend(int threads, bool pin) : pool_(threads, pin) {}

  std::string name() const override { return "reference"; }
  int threads() const override { return pool_.size(); }

  std::unique_ptr<PackedMatrix> pack(const WeightSource& source) override {
    auto matrix = std::make_unique<DenseMatrix>(source.rows(), source.cols());
    pool_.for_range(source.rows(), [&](int64_t begin, int64_t end) {
      source.read_f32(begin, end - begin, matrix->row(begin));
    });
    return matrix;
  }
  int64_t packed_bytes(int64_t rows, int64_t cols,
                       const QuantizedLayout&) const override {
    return rows * cols * static_cast<int64_t>(sizeof(float));
  }
  std::unique_ptr<Buffer> upload(std::span<const float> values) override {
    auto buffer =
        std::make_unique<HostBuffer>(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), buffer->data());
    return buffer;
  }
  std::unique_ptr<Buffer> allocate(int64_t floats) override {
    return std::make_unique<HostBuffer>(floats);
  }
  std::unique_ptr<LinearInput> make_input(int64_t max_rows,
                                          int64_t cols) override {
    return std::make_unique<DenseInput>(max_rows, cols);
  }
  std::unique_ptr<KvStorage> make_kv(const KvLayout& layout) override {
    return std::make_unique<ReferenceKv>(layout);
  }

  void embed(const PackedMatrix& table, std::span<const int32_t> tokens,
             float scale, Matrix x) override {
    for (size_t t = 0; t < tokens.size(); ++t) {
      require(tokens[t] >= 0 && tokens[t] < table.rows(),
              "embed: a token is outside the table");
      const float* from = dense(table).row(tokens[t]);
      float* to = row(x, static_cast<int64_t>(t));
      for (int64_t i = 0; i < table.cols(); ++i) to[i] = from[i] * scale;
    }
  }

  void rope_angles(std::span<const SequenceRows> sequences,
                   std::span<const double> inverse_frequencies,
                   RopeAngles angles) override {
    const auto half = static_cast<int64_t>(inverse_frequencies.size());
    for (const SequenceRows& sequence : sequences) {
      for (int64_t t = 0; t < sequence.rows; ++t) {
        float* out = row(angles, sequence.first_row + t);
        const auto position = static_cast<double>(sequence.first_position + t);
        for (int64_t i = 0; i < half; ++i) {
          const double angle = position * inverse_frequencies[i];
          out[i] = static_cast<float>(std::cos(angle));
          out[i + half] = static_cast<float>(std::sin(angle));
        }
      }
    }
  }

  void norm(Matrix x, Vector weight, float eps, LinearInput& out) override {
    require(x.cols == weight.size && x.cols == out.cols() &&
                x.rows <= out.max_rows(),
            "norm: shapes differ");
    out.rows = x.rows;
    pool_.for_range(x.rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        rms_norm(row(x, t), weight.data, x.cols, eps, dense(out).row(t));
      }
    });
  }

  void linear(const LinearInput& input,
              std::span<const LinearOutput> outputs) override {
    for (const LinearOutput& output : outputs) {
      require(output.weight->cols() == input.cols() &&
                  output.output.rows == input.rows &&
                  output.output.cols == output.weight->rows(),
              "linear: shapes differ");
      pool_.for_range(output.weight->rows(), [&](int64_t begin, int64_t end) {
        multiply(dense(input), dense(*output.weight), begin, end,
                 output.output);
      });
    }
  }

  void heads(const HeadsInput& in, std::span<const SequenceRows> sequences,
             const KvLayer& kv) override {
    auto& storage = static_cast<ReferenceKv&>(*kv.storage);
    const int64_t head_dim = storage.layout().head_dim;
    const auto prepare = [&](Matrix matrix, Vector weight) {
      for (int64_t t = 0; t < matrix.rows; ++t) {
        for (int64_t at = 0; at < matrix.cols; at += head_dim) {
          float* head = row(matrix, t) + at;
          if (weight.size > 0) {
            rms_norm(head, weight.data, head_dim, in.norm_eps, head);
          }
          rotate(head, row(in.angles, t), head_dim);
        }
      }
    };
    prepare(in.q, in.q_norm);
    prepare(in.k, in.k_norm);
    if (in.k.rows == 0) return;
    for (const SequenceRows& sequence : sequences) {
      const BlockTable& table = sequence.tables[static_cast<int>(kv.kind)];
      for (int64_t t = 0; t < sequence.rows; ++t) {
        const int64_t position = sequence.first_position + t;
        const int32_t block =
            table.ids[position / kBlockTokens - table.first_block];
        for (int head = 0; head < storage.layout().kv_heads; ++head) {
          const auto store = [&](Matrix from, KvPart part) {
            std::memcpy(storage.at(block, kv.layer, part, head,
                                   position % kBlockTokens),
                        row(from, sequence.first_row + t) + head * head_dim,
                        head_dim * sizeof(float));
          };
          store(in.k, KvPart::kKey);
          store(in.v, KvPart::kValue);
        }
      }
    }
  }

  void attention(Matrix q, std::span<const SequenceRows> sequences,
                 const KvLayer& kv, const AttentionShape& shape,
                 LinearInput& out) override {
    require(q.cols == int64_t{shape.heads} * shape.head_dim &&
                q.cols == out.cols() && q.rows <= out.max_rows(),
            "attention: shapes differ");
    const auto& storage = static_cast<const ReferenceKv&>(*kv.storage);
    out.rows = q.rows;
    for (const SequenceRows& sequence : sequences) {
      const BlockTable& table = sequence.tables[static_cast<int>(kv.kind)];
      const int64_t tasks = sequence.rows * shape.heads;
      pool_.for_range(tasks, [&](int64_t begin, int64_t end) {
        std::vector<float> scores;
        for (int64_t task = begin; task < end; ++task) {
          const int64_t t = task / shape.heads;
          const int head = static_cast<int>(task % shape.heads);
          const int64_t at = int64_t{head} * shape.head_dim;
          attend(
              row(q, sequence.first_row + t) + at, sequence.first_position + t,
              head / (shape.heads / shape.kv_heads), table, storage, kv.layer,
              shape, scores, dense(out).row(sequence.first_row + t) + at);
        }
      });
    }
  }

  void add_norm(Matrix x, Matrix y, Vector post_norm, Vector next_norm,
                float eps, LinearInput* out) override {
    require(x.rows == y.rows && x.cols == y.cols, "add_norm: shapes differ");
    if (out != nullptr) out->rows = x.rows;
    pool_.for_range(x.rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        float* sum = row(x, t);
        float* branch = row(y, t);
        if (post_norm.size > 0) {
          rms_norm(branch, post_norm.data, y.cols, eps, branch);
        }
        for (int64_t i = 0; i < x.cols; ++i) sum[i] += branch[i];
        if (out != nullptr) {
          rms_norm(sum, next_norm.data, x.cols, eps, dense(*out).row(t));
        }
      }
    });
  }

  void gated_linear(const LinearInput& input, const PackedMatrix& gate,
                    const PackedMatrix& up, Activation activation,
                    LinearInput& out) override {
    require(gate.rows() == up.rows() && gate.rows() == out.cols() &&
                gate.cols() == input.cols() && up.cols() == input.cols() &&
                input.rows <= out.max_rows(),
            "gated_linear: shapes differ");
    out.rows = input.rows;
    pool_.for_range(gate.rows(), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        for (int64_t m = 0; m < input.rows; ++m) {
          const float* x = dense(input).row(m);
          const float g = dot(x, dense(gate).row(n), gate.cols());
          const float u = dot(x, dense(up).row(n), up.cols());
          dense(out).row(m)[n] = activate(g, activation) * u;
        }
      }
    });
  }

  void gather(Matrix in, std::span<const int64_t> rows, Matrix out) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(row(out, static_cast<int64_t>(i)), row(in, rows[i]),
                  in.cols * sizeof(float));
    }
  }

  void read(Matrix in, int64_t at, float* out) override {
    std::memcpy(out, row(in, at), in.cols * sizeof(float));
  }

  int64_t submit() override { return ++tickets_; }
  void wait(int64_t) override {}

 private:
  ThreadPool pool_;
  int64_t tickets_ = 0;
};

}  // namespace
}  // namespace reference

std::unique_ptr<Backend> make_reference_backend(int threads, bool pin) {
  return std::make_unique<reference::ReferenceBackend>(threads, pin);
}

}  // namespace carat
