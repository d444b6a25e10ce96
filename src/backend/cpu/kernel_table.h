// What the kernels of one instruction set offer, and the plain data they take.
//
// Kernel files are compiled with wider instruction sets than the machine may
// have, so nothing with external linkage may be emitted there: this header
// holds only plain structs, no inline functions.
#ifndef CARAT_BACKEND_CPU_KERNEL_TABLE_H_
#define CARAT_BACKEND_CPU_KERNEL_TABLE_H_

#include <cstdint>

namespace carat::cpu {

/// Values that share an activation scale.
inline constexpr int kGroup = 32;
/// Outputs of a weight tile; a multiple of kGroup, so that a tile of gates and
/// ups makes whole groups of the next activation.
inline constexpr int kTile = 32;
/// Groups of a super-block.
inline constexpr int kSuperGroups = 8;
/// Positions of a KV block.
inline constexpr int kBlock = 64;

/// A packed weight matrix. A tile of 32 outputs is a run of records, each for
/// `shared` groups of 32 inputs:
///   f16 scales [32], f16 biases [32] if has_bias, codes;
/// or, with super-blocks, each for 8 groups: f16 scales [32] and biases [32],
/// then for each group
///   int8 scales [steps][32], int8 biases [steps][32] if has_bias, codes,
/// where a scale or bias is the integer times the super-block's, exactly.
/// Codes of a group are 8 quads of 4 consecutive inputs, [32 outputs][4] bytes.
/// Below 7 bits the low nibbles of quads 2p and 2p + 1 are the low and high
/// nibbles of one, and after the four of them come planes of the bits above: of
/// 5 bits one, whose bit q is of quad q; of 6 bits two, whose bits 2r and 2r +
/// 1 are of quad r of the first four and of the last four.
struct WeightTiles {
  const uint8_t* tiles;
  const float* factors;  ///< [N padded to 32], multiply the finished sums
  int64_t tile_bytes;
  int64_t groups;      ///< activation groups: inputs / 32, rounded up
  int32_t code_bits;   ///< 4, 5, 6; 7: bytes below 128; 8: any bytes
  int32_t steps;       ///< scales of a group of 32: 1, with super-blocks 1 or 2
  int32_t shared;      ///< groups of 32 inputs that share a scale: 1, 2 or 4
  int32_t zero_point;  ///< 0 with biases
  bool has_bias;
  bool has_super_blocks;
};

/// Bytes of a tile of `w`, of codes below 7 bits, with a byte a code.
inline int64_t unpacked_tile_bytes(const WeightTiles& w) {
  return w.tile_bytes + w.groups * kTile * kGroup * (8 - w.code_bits) / 8;
}

/// int8 activations [rows, groups * 32]: x = scale * code.
struct QuantizedRows {
  int8_t* codes;
  float* scales;   ///< [rows, groups]
  int32_t* sums;   ///< [rows, groups, 2]: sums of 16 codes
  int64_t stride;  ///< bytes from row to row of codes
  int64_t groups;
};

/// Rows [first_row, first_row + rows) of a linear operation, `prepared` by
/// KernelTable::prepare for the weights' layout.
struct LinearRows {
  const int8_t* codes;  ///< of first_row
  int64_t stride;
  const int32_t* prepared;
  int64_t rows;
  /// How far ahead the first chunk of rows asks for weights; 0: not at all.
  int64_t ahead_bytes;
  /// Room for a tile with a byte a code, unpacked_tile_bytes(), for kernels to
  /// take codes apart once a tile instead of once a chunk; or null.
  uint8_t* room;
};

struct Tiles {
  int64_t begin;
  int64_t end;
};

struct OutputRows {
  float* data;  ///< of the first row
  int64_t stride;
  int64_t cols;
};

/// Float rows; `stride` floats apart.
struct FloatRows {
  float* data;
  int64_t stride;
  int64_t cols;
};

/// A rotated head: rms norm (if norm is not null), then RoPE.
struct HeadCall {
  const float* norm;    ///< [head_dim] or null
  const float* angles;  ///< this row's cosines, then sines
  float eps;
  int32_t head_dim;
};

/// One position in a KV block of one head. Keys [head_dim][64] f16, then values
/// [64][head_dim rounded up to 16] f16.
struct KvSlot {
  uint16_t* keys;
  uint16_t* values;
  int32_t index;  ///< position in the block
};

/// Queries of one sequence and kv head. Query vector v is head v % sharing of
/// the kv head's group, at row v / sharing.
struct AttentionCall {
  const float* q;  ///< the sequence's first row, the kv head's first query head
  int64_t q_stride;
  int64_t first_position;         ///< of the sequence's first row
  const uint16_t* const* blocks;  ///< this kv head's keys, by absolute block
  int64_t first_block;            ///< blocks[i] is absolute block first_block+i
  int64_t value_offset;           ///< from keys to values
  int64_t window;                 ///< 0: all
  int64_t first_vector;           ///< of the sequence
  int32_t vectors;
  int32_t sharing;
  int32_t head_dim;
  float scale;
  float softcap;
};

/// Softmax accumulators of some query vectors.
struct AttentionState {
  float* maximum;  ///< [vectors]
  float* sum;      ///< [vectors]
  float* output;   ///< [vectors, head_dim rounded up to 16]
  uint8_t* seen;   ///< [vectors]: 1 once a span was merged
};

enum class MathFunction : uint8_t { kExp, kTanh, kGeluTanh, kSilu };

struct KernelTable {
  const char* name;
  int32_t chunk_rows;  ///< rows a linear kernel takes at once
  bool unpacks_tiles;  ///< whether LinearRows::room serves
  /// Query vectors an attention kernel takes at once.
  int32_t chunk_vectors;

  /// Words that `prepare` writes for some rows: a chunk's scales and starts,
  /// [chunk][group]{scale[chunk_rows], per step start[chunk_rows]}.
  void (*prepare)(const WeightTiles&, const QuantizedRows&, int64_t first_row,
                  int64_t rows, int32_t* prepared);
  void (*linear)(const WeightTiles&, const LinearRows&, Tiles,
                 const OutputRows&);
  /// The same rows, prepared for each matrix; a tile is a group of `out`,
  /// whose rows start at `first_row`.
  void (*gated)(const WeightTiles& gate, const LinearRows& gate_rows,
                const WeightTiles& up, const LinearRows& up_rows, Tiles,
                bool is_silu, int64_t first_row, const QuantizedRows& out);

  void (*quantize)(const FloatRows& in, int64_t first_row, int64_t rows,
                   const QuantizedRows& out);
  void (*norm)(const FloatRows& x, const float* weight, float eps,
               int64_t first_row, int64_t rows, const QuantizedRows& out);
  /// post_norm may be null; out is null where there is no next norm.
  void (*add_norm)(const FloatRows& x, const FloatRows& y,
                   const float* post_norm, const float* next_norm, float eps,
                   int64_t first_row, int64_t rows, const QuantizedRows* out);
  void (*embed)(const WeightTiles&, int64_t row, float scale, float* out,
                int64_t cols);

  /// Norms and rotates one head in place.
  void (*query_head)(const HeadCall&, float* q);
  /// Norms and rotates one head into the cache, and its value.
  void (*key_head)(const HeadCall&, const float* k, const float* v,
                   const KvSlot&);

  /// Floats of scratch that attend() needs for `vectors` query vectors.
  int64_t (*attention_scratch)(int64_t vectors, int64_t head_dim);
  /// Merges the spans [first_span, end_span) into `state`, which must be
  /// zeroed before the first.
  void (*attend)(const AttentionCall&, int64_t first_span, int64_t end_span,
                 float* scratch, const AttentionState& state);
  /// Merges `next` into `state`.
  void (*merge)(const AttentionState& state, const AttentionState& next,
                int64_t vectors, int64_t head_dim);
  /// output / sum of one query vector, as floats.
  void (*finish)(const AttentionState& state, int64_t vector, int64_t head_dim,
                 float* out);
  /// The same as groups of a row; head_dim must be whole groups.
  void (*finish_quantized)(const AttentionState& state, int64_t vector,
                           int64_t head_dim, int64_t row, int64_t first_group,
                           const QuantizedRows& out);

  /// y[i] = function(x[i]), for tests.
  void (*evaluate)(MathFunction function, const float* x, float* y,
                   int64_t count);

  /// Multiplies at the machine's limit, from registers; returns the
  /// multiplications done.
  int64_t (*peak_dots)(int64_t iterations);
  /// Reads memory as fast as it comes (a multiple of 512 bytes); returns
  /// something that depends on it.
  uint32_t (*read_stream)(const uint8_t* data, int64_t bytes);
};

/// Defined in kernels_<name>.cc.
const KernelTable& portable_kernels();
#if defined(__x86_64__)
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& vnni256_vex_kernels();
const KernelTable& vnni256_evex_kernels();
#elif defined(__aarch64__)
const KernelTable& neon_dotprod_kernels();
const KernelTable& neon_i8mm_kernels();
#endif

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_KERNEL_TABLE_H_
