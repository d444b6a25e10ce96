// The compute seam: the dozen operations a transformer is made of. A backend
// implements these, the model is written once in terms of them.
//
// The contract (docs/numerics.md): the bits of an output row are a function of
// that row's inputs, its position and its own sequence's cache alone, never of
// how many rows came with it, of neighbours or of the number of threads.
#ifndef CARAT_BACKEND_BACKEND_H_
#define CARAT_BACKEND_BACKEND_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/weight_source.h"

namespace carat {

/// Positions per KV block; blocks start at multiples of it.
inline constexpr int64_t kBlockTokens = 64;

/// f32 [rows, cols], row-major, in the backend's memory: `data` may be a device
/// address, so only the backend that made it may follow it. Rows start `stride`
/// floats apart, a multiple of 16; a view, valid while its Buffer lives.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  /// The first `count` rows.
  Matrix first_rows(int64_t count) const { return {data, count, cols, stride}; }
};

/// f32 [size], in the backend's memory; a view.
struct Vector {
  const float* data = nullptr;
  int64_t size = 0;
};

/// Owns memory of a backend. Freed when destroyed, after the backend's queue
/// no longer uses it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual float* data() = 0;
  virtual int64_t bytes() const = 0;
};

/// A weight matrix [rows = N, cols = K] in a backend's own tiling. Immutable.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  /// Bytes it keeps in the backend's memory.
  virtual int64_t bytes() const = 0;

 protected:
  PackedMatrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}

 private:
  int64_t rows_;
  int64_t cols_;
};

/// Activations [rows, cols] ready to be multiplied by a PackedMatrix: int8 with
/// scales on CPUs, plain f32 in the reference. Reused from layer to layer; an
/// operation that fills it sets the number of rows.
class LinearInput {
 public:
  virtual ~LinearInput() = default;
  int64_t cols() const { return cols_; }
  int64_t max_rows() const { return max_rows_; }
  virtual int64_t bytes() const = 0;

  int64_t rows = 0;  ///< rows in use

 protected:
  LinearInput(int64_t max_rows, int64_t cols)
      : cols_(cols), max_rows_(max_rows) {}

 private:
  int64_t cols_;
  int64_t max_rows_;
};

/// Layers of one kind share block tables: every layer keeps all its blocks, or
/// only those its window still reaches.
enum class CacheKind : uint8_t { kFull, kWindow };
inline constexpr int kCacheKinds = 2;

/// Keys and values of all layers of one kind, in blocks of kBlockTokens
/// positions, named by ids from 0.
struct KvLayout {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
};

/// Starts with room for no block; grow() adds memory in slabs of the backend's
/// choice and never moves what is there. Freed with the object only: the block
/// pool above reuses ids.
class KvStorage {
 public:
  virtual ~KvStorage() = default;
  const KvLayout& layout() const { return layout_; }
  /// Bytes of one block over all layers, keys and values together.
  virtual int64_t block_bytes() const = 0;
  /// How many blocks an allocation of device memory holds.
  virtual int64_t slab_blocks() const { return 1; }
  /// Makes the ids [0, blocks) usable. Throws: Error{kOutOfMemory}.
  virtual void grow(int64_t blocks) = 0;

 protected:
  explicit KvStorage(const KvLayout& layout) : layout_(layout) {}

 private:
  KvLayout layout_;
};

/// Which blocks of a KvStorage hold a sequence: the absolute block
/// `first_block + i` (positions [64 * that, 64 * that + 64)) is ids[i].
struct BlockTable {
  std::span<const int32_t> ids;
  int64_t first_block = 0;
};

/// Consecutive rows of a batch that are consecutive positions of one sequence.
struct SequenceRows {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t first_position = 0;
  BlockTable tables[kCacheKinds];  ///< indexed by CacheKind
};

/// One output of a linear operation: output = input * weight^T.
struct LinearOutput {
  const PackedMatrix* weight = nullptr;  ///< [N, K]
  Matrix output;                         ///< [rows, N]
};

/// Rotary position embedding of rows: cos in columns [0, head_dim / 2), sin in
/// [head_dim / 2, head_dim).
using RopeAngles = Matrix;

/// The arguments of Backend::heads; an empty matrix leaves its part out.
struct HeadsInput {
  Matrix q;       ///< [T, heads * head_dim], normed and rotated in place
  Matrix k;       ///< [T, kv_heads * head_dim], goes to the cache
  Matrix v;       ///< like k
  Vector q_norm;  ///< [head_dim], or empty: no norm
  Vector k_norm;  ///< [head_dim], or empty: no norm
  float norm_eps = 0;
  RopeAngles angles;  ///< [T, head_dim]
};

/// The part of a KvStorage that one layer uses.
struct KvLayer {
  KvStorage* storage = nullptr;
  int layer = 0;  ///< index among the layers of its kind
  CacheKind kind = CacheKind::kFull;
};

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  float scale = 1;     ///< multiplies every score
  float softcap = 0;   ///< score = softcap * tanh(score / softcap); 0 is off
  int64_t window = 0;  ///< sees the last `window` positions, itself included;
                       ///< 0: sees all
};

enum class Activation : uint8_t { kGeluTanh, kSilu };

/// Memory of a device, of which there is no more than this.
struct DeviceMemoryState {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
  /// What the backend may yet take for itself, beside what it is asked for.
  int64_t own_bytes = 0;
};

/// Operations are submitted in order to one queue (or to lanes, see there) and
/// may still run when the call returns; submit() and wait() are the only
/// synchronisation besides read(). Weights, buffers and views passed in must
/// live until waited for; host spans (tokens, sequences) are copied in the
/// call. One thread at a time may use a backend. Shapes are checked:
/// Error{kInvalidArgument}.
class Backend {
 public:
  virtual ~Backend() = default;

  /// "reference", "cpu avx512", ...
  virtual std::string name() const = 0;
  /// Its pool's size.
  virtual int threads() const = 0;
  /// The prefill chunk that was measured best on this backend, if one was.
  virtual std::optional<int64_t> measured_chunk_tokens() const {
    return std::nullopt;
  }

  /// The memory it allocates from; nullopt: the host's. Throws: Error{kDevice}.
  virtual std::optional<DeviceMemoryState> device_memory() const {
    return std::nullopt;
  }
  /// What an allocation of `bytes` takes of it.
  virtual int64_t allocation_bytes(int64_t bytes) const { return bytes; }

  // --- Memory. Throws: Error{kOutOfMemory}. ---

  virtual std::unique_ptr<PackedMatrix> pack(const WeightSource& source) = 0;
  /// What pack() of such a source would keep.
  virtual int64_t packed_bytes(int64_t rows, int64_t cols,
                               const QuantizedLayout& layout) const = 0;
  virtual std::unique_ptr<Buffer> upload(std::span<const float> values) = 0;
  virtual std::unique_ptr<Buffer> allocate(int64_t floats) = 0;
  virtual std::unique_ptr<LinearInput> make_input(int64_t max_rows,
                                                  int64_t cols) = 0;
  virtual std::unique_ptr<KvStorage> make_kv(const KvLayout& layout) = 0;

  // --- Operations, in the order a forward pass uses them. ---

  /// x[t,:] = scale * table[tokens[t],:]. Tokens must be in [0, table.rows()).
  virtual void embed(const PackedMatrix& table, std::span<const int32_t> tokens,
                     float scale, Matrix x) = 0;

  /// angles[t,i] = position(t) * inverse_frequencies[i]; its cosine and sine.
  virtual void rope_angles(std::span<const SequenceRows> sequences,
                           std::span<const double> inverse_frequencies,
                           RopeAngles angles) = 0;

  /// out = rms_norm(x) * weight, as linear input. rms_norm(x) = x /
  /// sqrt(mean(x^2) + eps); weight [D] includes Gemma's 1 +.
  virtual void norm(Matrix x, Vector weight, float eps, LinearInput& out) = 0;

  /// Each output = input * weight^T. All weights have input.cols() columns.
  virtual void linear(const LinearInput& input,
                      std::span<const LinearOutput> outputs) = 0;

  /// Per-head norm, then RoPE (halves i, i + head_dim / 2) of q in place and
  /// of k on its way to the cache, with v; see HeadsInput. The sequences' block
  /// tables cover their rows' positions.
  virtual void heads(const HeadsInput& in,
                     std::span<const SequenceRows> sequences,
                     const KvLayer& kv) = 0;

  /// Causal attention of q's rows over their own sequence's cache, their own
  /// position included: out[t, h*Dh:] = softmax(scale * q k^T) v. Query head h
  /// uses kv head h / (heads / kv_heads). Uses q up: what it holds afterwards
  /// is the backend's business.
  virtual void attention(Matrix q, std::span<const SequenceRows> sequences,
                         const KvLayer& kv, const AttentionShape& shape,
                         LinearInput& out) = 0;

  /// x += rms_norm(y) * post_norm (or x += y where post_norm is empty), then
  /// out = rms_norm(x) * next_norm unless `out` is null.
  virtual void add_norm(Matrix x, Matrix y, Vector post_norm, Vector next_norm,
                        float eps, LinearInput* out) = 0;

  /// out = activation(input * gate^T) * (input * up^T), as linear input.
  virtual void gated_linear(const LinearInput& input, const PackedMatrix& gate,
                            const PackedMatrix& up, Activation activation,
                            LinearInput& out) = 0;

  /// out[i,:] = in[rows[i],:].
  virtual void gather(Matrix in, std::span<const int64_t> rows, Matrix out) = 0;

  /// Waits for all submitted work, then copies in[row,:] to `out` [cols].
  virtual void read(Matrix in, int64_t row, float* out) = 0;

  // --- Queue. ---

  /// True if every operation has run when its call returns (CPUs): there is
  /// nothing to gain from a second chunk in flight.
  virtual bool eager() const { return true; }
  /// Marks the end of a chunk's work and starts what has not begun; returns its
  /// ticket. Tickets ascend.
  virtual int64_t submit() = 0;
  /// Waits until the work of `ticket` and of all before it is done, in every
  /// lane. Throws: Error{kDevice}.
  virtual void wait(int64_t ticket) = 0;

  // --- Lanes: chunks side by side. ---

  /// How many chunks of `rows` rows had better be at work at once.
  virtual int lanes(int64_t /*rows*/) const { return 1; }
  /// Operations from now on, which begin a chunk, belong to `lane`, of [0,
  /// lanes(rows)). Those of one lane run in order. Those of two may overlap, so
  /// each lane needs buffers of its own; only heads() and attention() of one
  /// layer keep the order of the calls, so that a chunk finds the keys and
  /// values of those before it. Throws: Error{kDevice}, Error{kOutOfMemory}.
  virtual void use_lane(int /*lane*/) {}
  /// Operations from now on follow all before, as they do until use_lane().
  virtual void join_lanes() noexcept {}
};

}  // namespace carat

#endif  // CARAT_BACKEND_BACKEND_H_
