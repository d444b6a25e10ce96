#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backend/cpu/attention_driver.h"
#include "backend/cpu/cpu_memory.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/linear_driver.h"
#include "backend/cpu/packed_matrix.h"
#include "backend/cpu/rope_angles.h"
#include "backend/shape_checks.h"
#include "base/checked.h"
#include "base/require.h"
#include "base/thread_pool.h"

namespace carat {
namespace {

using cpu::CpuBuffer;
using cpu::CpuInput;
using cpu::CpuKv;
using cpu::CpuMatrix;
using cpu::FloatRows;
using cpu::KernelTable;
using cpu::QuantizedRows;

const CpuMatrix& own_matrix(const PackedMatrix& matrix) {
  return own<const CpuMatrix>(matrix, "weights packed by another backend");
}

FloatRows rows_of(const Matrix& m) { return {m.data, m.stride, m.cols}; }

// The output `out` of `rows` rows that an operation fills.
const QuantizedRows& begin_fill(LinearInput& out, int64_t rows, int64_t cols) {
  auto& input = own<CpuInput>(out, "linear input of another backend");
  require(input.cols() == cols, "linear input: columns differ");
  require(rows <= input.max_rows(), "linear input: more rows than it holds");
  input.rows = rows;
  return input.quantized();
}

const QuantizedRows& quantized(const LinearInput& in) {
  return own<const CpuInput>(in, "linear input of another backend").quantized();
}

CpuKv& own_kv(const KvLayer& layer) {
  require(layer.storage != nullptr, "KV cache: none");
  auto& kv = own<CpuKv>(*layer.storage, "KV cache of another backend");
  require(layer.layer >= 0 && layer.layer < kv.layout().layers,
          "KV cache: layer out of range");
  return kv;
}

class CpuBackend : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, int threads, bool pin)
      : kernels_(kernels),
        pool_(threads, pin),
        linear_(pool_, kernels, tuning_),
        attention_(pool_, kernels) {}

  std::string name() const override {
    return std::string("cpu ") + kernels_.name;
  }
  std::optional<int64_t> measured_chunk_tokens() const override {
    return tuning_.chunk_tokens;
  }
  int threads() const override { return pool_.size(); }

  std::unique_ptr<PackedMatrix> pack(const WeightSource& source) override {
    return std::make_unique<CpuMatrix>(source, pool_, weight_memory_);
  }
  int64_t packed_bytes(int64_t rows, int64_t cols,
                       const QuantizedLayout& layout) const override {
    return CpuMatrix::bytes_of(rows, cols, layout);
  }
  std::unique_ptr<Buffer> upload(std::span<const float> values) override {
    auto buffer =
        std::make_unique<CpuBuffer>(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), buffer->data());
    return buffer;
  }
  std::unique_ptr<Buffer> allocate(int64_t floats) override {
    return std::make_unique<CpuBuffer>(floats);
  }
  std::unique_ptr<LinearInput> make_input(int64_t max_rows,
                                          int64_t cols) override {
    return std::make_unique<CpuInput>(max_rows, cols);
  }
  std::unique_ptr<KvStorage> make_kv(const KvLayout& layout) override {
    return std::make_unique<CpuKv>(layout);
  }

  void embed(const PackedMatrix& table, std::span<const int32_t> tokens,
             float scale, Matrix x) override {
    const CpuMatrix& matrix = own_matrix(table);
    check_matrix(x, "embed: x is not a matrix");
    require(x.rows == static_cast<int64_t>(tokens.size()) &&
                x.cols == matrix.cols(),
            "embed: shapes differ");
    for (const int32_t token : tokens) {
      require(token >= 0 && token < matrix.rows(),
              "embed: a token outside the vocabulary");
    }
    for_rows(x.rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        kernels_.embed(matrix.tiles(), tokens[static_cast<size_t>(t)], scale,
                       x.data + t * x.stride, x.cols);
      }
    });
  }

  void rope_angles(std::span<const SequenceRows> sequences,
                   std::span<const double> inverse_frequencies,
                   RopeAngles angles) override {
    check_matrix(angles, "rope_angles: angles is not a matrix");
    check_sequences(sequences, angles.rows);
    const auto half = static_cast<int64_t>(inverse_frequencies.size());
    require(angles.cols == 2 * half, "rope_angles: columns differ");
    for (const SequenceRows& sequence : sequences) {
      for_rows(sequence.rows, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          float* row = angles.data + (sequence.first_row + t) * angles.stride;
          const auto position =
              static_cast<double>(sequence.first_position + t);
          for (int64_t i = 0; i < half; ++i) {
            const cpu::SineCosine at = cpu::sine_cosine(
                position * inverse_frequencies[static_cast<size_t>(i)]);
            row[i] = static_cast<float>(at.cosine);
            row[half + i] = static_cast<float>(at.sine);
          }
        }
      });
    }
  }

  void norm(Matrix x, Vector weight, float eps, LinearInput& out) override {
    check_matrix(x, "norm: x is not a matrix");
    require(weight.size == x.cols, "norm: weight differs in size");
    const QuantizedRows& q = begin_fill(out, x.rows, x.cols);
    for_rows(x.rows, [&](int64_t begin, int64_t end) {
      kernels_.norm(rows_of(x), weight.data, eps, begin, end - begin, q);
    });
  }

  void linear(const LinearInput& input,
              std::span<const LinearOutput> outputs) override {
    const QuantizedRows& q = quantized(input);
    pieces_.clear();
    for (const LinearOutput& output : outputs) {
      require(output.weight != nullptr, "linear: no weight");
      const CpuMatrix& weight = own_matrix(*output.weight);
      check_matrix(output.output, "linear: an output is not a matrix");
      require(weight.cols() == input.cols() &&
                  output.output.cols == weight.rows() &&
                  output.output.rows == input.rows,
              "linear: shapes differ");
      pieces_.push_back(
          {&weight.tiles(),
           weight.tile_count(),
           {output.output.data, output.output.stride, output.output.cols}});
    }
    if (input.rows > 0) linear_.run(q, input.rows, pieces_);
  }

  void heads(const HeadsInput& in, std::span<const SequenceRows> sequences,
             const KvLayer& layer) override {
    const int64_t rows = in.angles.rows;
    const int64_t head_dim = in.angles.cols;
    check_matrix(in.angles, "heads: angles is not a matrix");
    require(head_dim % 2 == 0, "heads: head_dim is odd");
    check_sequences(sequences, rows);
    const auto check_heads = [&](const Matrix& m) {
      check_matrix(m, "heads: q, k or v is not a matrix");
      require(m.rows == rows && m.cols % head_dim == 0, "heads: shapes differ");
    };
    const auto check_norm = [&](const Vector& norm) {
      require(norm.size == 0 || norm.size == head_dim,
              "heads: a norm differs in size");
    };
    if (in.q.data != nullptr) check_heads(in.q);
    check_norm(in.q_norm);
    check_norm(in.k_norm);
    CpuKv* kv = nullptr;
    if (in.k.data != nullptr) {
      check_heads(in.k);
      check_heads(in.v);
      kv = &own_kv(layer);
      require(kv->layout().head_dim == head_dim &&
                  in.k.cols == head_dim * kv->layout().kv_heads &&
                  in.v.cols == in.k.cols,
              "heads: keys and values differ from the cache's shape");
    }
    for (const SequenceRows& sequence : sequences) {
      const BlockTable& table =
          sequence.tables[static_cast<size_t>(layer.kind)];
      if (kv != nullptr) {
        check_blocks(table, kv->blocks(), sequence.first_position,
                     sequence.first_position + sequence.rows);
      }
      for_rows(sequence.rows, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          rotate_row(in, sequence, t, table, layer.layer, kv);
        }
      });
    }
  }

  void attention(Matrix q, std::span<const SequenceRows> sequences,
                 const KvLayer& layer, const AttentionShape& shape,
                 LinearInput& out) override {
    check_matrix(q, "attention: q is not a matrix");
    CpuKv& kv = own_kv(layer);
    require(shape.head_dim == kv.layout().head_dim &&
                shape.kv_heads == kv.layout().kv_heads && shape.heads > 0 &&
                shape.heads % shape.kv_heads == 0 &&
                q.cols == int64_t{shape.heads} * shape.head_dim,
            "attention: shapes differ");
    require(shape.window >= 0, "attention: a negative window");
    check_sequences(sequences, q.rows);
    for (const SequenceRows& sequence : sequences) {
      const cpu::PositionRange range =
          cpu::visible_positions(sequence, shape.window, 0, sequence.rows - 1);
      check_blocks(sequence.tables[static_cast<size_t>(layer.kind)],
                   kv.blocks(), range.begin, range.end);
    }
    const QuantizedRows& quantized_out = begin_fill(out, q.rows, q.cols);
    attention_.run(q, sequences, layer, kv, shape, quantized_out);
  }

  void add_norm(Matrix x, Matrix y, Vector post_norm, Vector next_norm,
                float eps, LinearInput* out) override {
    check_matrix(x, "add_norm: x is not a matrix");
    check_matrix(y, "add_norm: y is not a matrix");
    require(y.rows == x.rows && y.cols == x.cols, "add_norm: shapes differ");
    require(post_norm.size == 0 || post_norm.size == x.cols,
            "add_norm: post_norm differs in size");
    const QuantizedRows* q = nullptr;
    if (out != nullptr) {
      require(next_norm.size == x.cols, "add_norm: next_norm differs in size");
      q = &begin_fill(*out, x.rows, x.cols);
    }
    const float* post = post_norm.size > 0 ? post_norm.data : nullptr;
    for_rows(x.rows, [&](int64_t begin, int64_t end) {
      kernels_.add_norm(rows_of(x), rows_of(y), post, next_norm.data, eps,
                        begin, end - begin, q);
    });
  }

  void gated_linear(const LinearInput& input, const PackedMatrix& gate,
                    const PackedMatrix& up, Activation activation,
                    LinearInput& out) override {
    const QuantizedRows& in = quantized(input);
    const CpuMatrix& gates = own_matrix(gate);
    const CpuMatrix& ups = own_matrix(up);
    require(gates.cols() == input.cols() && ups.cols() == input.cols() &&
                gates.rows() == ups.rows(),
            "gated_linear: shapes differ");
    require(&input != &out, "gated_linear: input and output are the same");
    const QuantizedRows& q = begin_fill(out, input.rows, gates.rows());
    if (input.rows == 0) return;
    linear_.run_gated(in, input.rows, gates.tiles(), ups.tiles(),
                      gates.tile_count(), activation == Activation::kSilu, q);
  }

  void gather(Matrix in, std::span<const int64_t> rows, Matrix out) override {
    check_matrix(in, "gather: in is not a matrix");
    check_matrix(out, "gather: out is not a matrix");
    require(
        out.rows == static_cast<int64_t>(rows.size()) && out.cols == in.cols,
        "gather: shapes differ");
    for (size_t i = 0; i < rows.size(); ++i) {
      require(rows[i] >= 0 && rows[i] < in.rows, "gather: row out of range");
      std::memcpy(out.data + static_cast<int64_t>(i) * out.stride,
                  in.data + rows[i] * in.stride,
                  static_cast<size_t>(in.cols) * sizeof(float));
    }
  }

  void read(Matrix in, int64_t row, float* out) override {
    check_matrix(in, "read: not a matrix");
    require(row >= 0 && row < in.rows, "read: row out of range");
    std::memcpy(out, in.data + row * in.stride,
                static_cast<size_t>(in.cols) * sizeof(float));
  }

  int64_t submit() override { return ++tickets_; }
  void wait(int64_t ticket) override {
    require(ticket <= tickets_, "wait: a ticket that was never given");
  }

 private:
  // Divides rows among threads; body(begin, end).
  template <class Body>
  void for_rows(int64_t rows, const Body& body) {
    pool_.for_range(rows, body);
  }

  // Row t of a sequence.
  void rotate_row(const HeadsInput& in, const SequenceRows& sequence, int64_t t,
                  const BlockTable& table, int layer, CpuKv* kv) {
    const int64_t row = sequence.first_row + t;
    const auto head_dim = static_cast<int32_t>(in.angles.cols);
    cpu::HeadCall call = {nullptr, in.angles.data + row * in.angles.stride,
                          in.norm_eps, head_dim};
    if (in.q.data != nullptr) {
      call.norm = in.q_norm.size > 0 ? in.q_norm.data : nullptr;
      float* q = in.q.data + row * in.q.stride;
      for (int64_t at = 0; at < in.q.cols; at += head_dim) {
        kernels_.query_head(call, q + at);
      }
    }
    if (kv == nullptr) return;
    call.norm = in.k_norm.size > 0 ? in.k_norm.data : nullptr;
    const int64_t position = sequence.first_position + t;
    const int32_t id = table.ids[static_cast<size_t>(position / kBlockTokens -
                                                     table.first_block)];
    for (int head = 0; head < kv->layout().kv_heads; ++head) {
      uint16_t* keys = kv->keys(id, layer, head);
      const int64_t at = int64_t{head} * head_dim;
      kernels_.key_head(call, in.k.data + row * in.k.stride + at,
                        in.v.data + row * in.v.stride + at,
                        {keys, keys + kv->value_offset(),
                         static_cast<int32_t>(position % kBlockTokens)});
    }
  }

  const KernelTable& kernels_;
  const cpu::Tuning tuning_ = cpu::machine_tuning();
  ThreadPool pool_;
  cpu::WeightMemory weight_memory_;
  cpu::LinearDriver linear_;
  cpu::AttentionDriver attention_;
  std::vector<cpu::LinearPiece> pieces_;
  int64_t tickets_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(std::string_view isa, int threads,
                                          bool pin) {
  if (threads < 0) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "threads is " + std::to_string(threads) + "; expected 0 (all) or more");
  }
  return std::make_unique<CpuBackend>(cpu::select_kernels(isa), threads, pin);
}

}  // namespace carat
