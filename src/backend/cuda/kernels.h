// The kernels' parameters and how to note their launches; host side.
#ifndef CARAT_BACKEND_CUDA_KERNELS_H_
#define CARAT_BACKEND_CUDA_KERNELS_H_

#include <cstdint>

#include "backend/cuda/launch_queue.h"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

/// What kernel choices depend on.
struct DeviceTraits {
  int processors = 1;      ///< multiprocessors
  bool has_wgmma = false;  ///< sm_90, and built for sm_90a
  bool overlaps = false;   ///< kernels may start before the last one ends
  bool has_clusters = false;
  int shared_bytes = 0;  ///< per block, opted in
};

/// What asking for a kernel on the present device gives: not success if the
/// build has no code for it.
cudaError_t code_status() noexcept;
/// Those of the present device and of the code loaded for it. Throws:
/// Error{kDevice}.
DeviceTraits read_traits(const cudaDeviceProp& properties);

/// f32 [rows, cols] in device memory.
struct Rows {
  float* data = nullptr;
  int64_t stride = 0;
};

// --- linear_small.cu, linear_wide.cuh: see there. ---

inline constexpr int kMostPieces = 4;

struct LinearPiece {
  WeightTiles weight;
  Rows out;
  int32_t first_tile = 0;  ///< tiles of 64 outputs before this piece
  int32_t padding = 0;
};

/// linear_small: how a call is cut, and what that takes of shared memory.
struct SmallLayout {
  int32_t ranges;        ///< of a slice
  int32_t per_block;     ///< ranges of a thread block
  int32_t warps;         ///< of one half; each takes every warps-th range
  int32_t weight_bytes;  ///< room for a warp's range
  int32_t activations_at, weights_at, partials_at, bytes;
  int32_t at_once;  ///< slices at work; a thread block takes every at_once-th
  int32_t kept;     ///< slices whose sums it keeps before it stores them
};

/// out = input * weight^T for several weights of the same bits; or, gated
/// (pieces gate and up), act(gate) * up as bf16 into `gated_out`.
struct LinearCall {
  LinearPiece pieces[kMostPieces];
  int32_t piece_count = 0;
  int32_t tile_count = 0;  ///< of 64 outputs; gated: of one of the two
  ActivationSlab input;
  int32_t rows = 0;
  int32_t is_silu = 0;
  ActivationSlab gated_out;
  Rows partials;        ///< linear_wide: [slot][rows][N], if K is shared
  int32_t k_parts = 1;  ///< linear_wide: thread blocks that share a tile's K
  int32_t parts = 1;    ///< linear_small: thread blocks that share a slice
  /// linear_wide: the next kernel starts not before this one has asked for all
  /// its activations. Until then the next one's waiting thread blocks would
  /// take multiprocessors from the other chunk at work (LaunchQueue::use_lane).
  int32_t lets_next_start_late = 0;
  /// linear_small: the thread blocks of so many of the first slices are there
  /// long before their turn, and ask for their weights slowly.
  int32_t early_slices = 0;
  SmallLayout small;
};
// LaunchQueue::launch clears padding. What follows an array of structures GCC
// 12 looks for in the array: there must be none.
static_assert(sizeof(LinearCall) ==
              sizeof(LinearPiece) * kMostPieces + 2 * sizeof(ActivationSlab) +
                  sizeof(Rows) + sizeof(SmallLayout) + 8 * sizeof(int32_t));

/// `bits` of a gated call whose two weights have different ones; and of the
/// kernels of linear_small for weights that differ in any way.
inline constexpr int kMixedBits = 0;

/// For few rows, and for devices without wgmma.
void launch_linear_small(LaunchQueue& queue, const DeviceTraits& device,
                         LinearCall call, int bits, bool gated);
/// Whether the wide kernels take a call's weights: 4 bits in groups of 32 or
/// more, and all of them with biases or none.
bool wide_supports(const LinearCall& call);
/// How launch_linear_wide cuts a call: into works of `width` rows of two tiles,
/// and of one of `k_parts` parts of their K.
struct WidePlan {
  int width = 0;
  int k_parts = 1;
  int64_t partial_bytes = 0;  ///< what `call.partials` needs room for
  bool lets_next_start_late = false;
};
/// out = partials[0] + partials[1] + ..., in this order.
struct JoinCall {
  Rows partials;  ///< [slots][rows][cols], rows of `stride`, a multiple of 4
  Rows out;
  int32_t slots;
  int32_t rows;
  int32_t cols;
};
/// wgmma; for many rows. Returns the join that it launched last, if any (slots
/// 0: none): who reads the output next may take that back and do it himself.
JoinCall launch_linear_wide(LaunchQueue& queue, const DeviceTraits& device,
                            LinearCall call, const WidePlan& plan, int bits,
                            bool gated);

// --- rows.cu ---

struct EmbedCall {
  WeightTiles table;
  const int32_t* tokens;
  Rows x;
  int32_t cols;
  float scale;
};
void launch_embed(LaunchQueue& queue, const EmbedCall& call, int64_t rows);

struct AnglesCall {
  const int32_t* positions;  ///< per row
  const double* inverse_frequencies;
  Rows angles;
  int32_t half;
};
void launch_angles(LaunchQueue& queue, const AnglesCall& call, int64_t rows);

/// x += norm(y) * post (y null: nothing is added; post null: x += y), then
/// out = norm(x) * next as bf16 unless out.data is null.
struct NormCall {
  Rows x;
  Rows y;
  const float* post;
  const float* next;
  float eps;
  int32_t cols;
  ActivationSlab out;
  JoinCall join;  ///< slots > 0: makes y first
};
/// Up to kMostNormColumns.
void launch_norm(LaunchQueue& queue, const NormCall& call, int64_t rows);
inline constexpr int kMostNormColumns = 16384;

struct GatherCall {
  Rows in;
  const int64_t* rows;
  Rows out;
  int32_t cols;
};
void launch_gather(LaunchQueue& queue, const GatherCall& call, int64_t rows);

void launch_join(LaunchQueue& queue, const JoinCall& call);

// --- heads.cu ---

/// A sequence's rows and blocks: the absolute block `first_block + i` is
/// blocks[i].
struct SequenceInfo {
  int64_t first_position;
  int64_t first_block;
  const uint8_t* const* blocks;
  int32_t first_row;
  int32_t rows;
};

/// Where one layer's keys lie in a block: per head panels of 64 columns, each
/// 64 rows of 128 bytes, whose 16-byte chunks are swapped by row & 7, as tensor
/// cores read them. Values follow kv_heads heads later.
struct BlockPart {
  int64_t layer_offset;  ///< bytes
  int32_t kv_heads;
  int32_t head_dim;
  int32_t padded_dim;  ///< columns of the panels; those past head_dim are zeros
};

struct HeadsCall {
  Rows q, k, v;  ///< data null: left out
  const float* q_norm;
  const float* k_norm;
  Rows angles;
  const SequenceInfo* sequences;
  const int32_t* row_sequence;  ///< per row, -1: none
  BlockPart part;
  float eps;
  int32_t q_heads;
};
void launch_heads(LaunchQueue& queue, const HeadsCall& call, int64_t rows);

// --- attention.cu ---

/// Some rows of one sequence that one thread block works on.
struct QueryTile {
  int32_t sequence;
  int32_t first;  ///< row within the sequence
};

struct AttentionCall {
  Rows q;
  const SequenceInfo* sequences;
  const QueryTile* tiles;
  BlockPart part;
  ActivationSlab out;
  int64_t window;  ///< 0: all
  float scale;
  float softcap;      ///< 0: off
  int32_t group;      ///< query heads a kv head
  int32_t tile_rows;  ///< positions a tile
  float* partials;    ///< split only
  int32_t splits;     ///< split: blocks per tile there is room for; joint:
                      ///< thread blocks of a cluster
  int32_t rounds;     ///< joint: blocks of keys a thread block takes
  int32_t groups;     ///< joint: of them, at a time
  /// Whether the kernels that still run may write no block of keys before the
  /// sequences' first rows; those are then loaded at once.
  int32_t reads_ahead;
  /// 2^16 / group, rounded up: see position_in_tile.
  int32_t group_inverse;
  /// Joint: does first what `heads` asks for, for the sequences' rows, but
  /// leaves q as it is. Needs reads_ahead.
  int32_t has_heads;
  HeadsCall heads;
};

/// Stacked (position, head) rows of a tile.
inline constexpr int kTensorQueries = 128;
inline constexpr int kWideQueries = 32;
inline constexpr int kFewQueries = 16;

/// Whether there is a kernel for this head size.
bool attention_supports(int head_dim);
/// Floats of `partials` for one tile, kv head and block.
int64_t partial_floats(int padded_dim);

/// Tiles of up to kWideQueries; each visits its blocks in turn.
void launch_attention_wide(LaunchQueue& queue, const AttentionCall& call,
                           int64_t tiles);
/// The same with wgmma, tiles of up to kTensorQueries.
bool tensor_attention_supports(const DeviceTraits& device, int head_dim);
void launch_attention_tensor(LaunchQueue& queue, const AttentionCall& call,
                             int64_t tiles);
/// Tiles of up to kFewQueries; blocks side by side, then merged in order.
void launch_attention_split(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles);
/// The same in one launch. cut_joint() sets `splits`, `rounds` and `groups` of
/// a call that is complete otherwise, for tiles of up to `most_blocks` blocks;
/// false: not for this device or so many.
bool cut_joint(const DeviceTraits& device, AttentionCall& call,
               int64_t most_blocks);
void launch_attention_joint(LaunchQueue& queue, const AttentionCall& call,
                            int64_t tiles);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_KERNELS_H_
