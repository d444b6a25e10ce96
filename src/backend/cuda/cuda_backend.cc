#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/append_log.h"
#include "backend/cuda/batch_staging.h"
#include "backend/cuda/device_error.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch_queue.h"
#include "backend/cuda/linear_launcher.h"
#include "backend/cuda/packing.h"
#include "backend/cuda/partial_room.h"
#include "backend/shape_checks.h"
#include "base/checked.h"
#include "base/require.h"
#include "base/thread_pool.h"

namespace carat {
namespace cuda {
namespace {

/// Chunks of up to so many rows leave multiprocessors idle enough to gain from
/// a second one beside them.
constexpr int64_t kMostLaneRows = 1024;
/// Room for kernels' code, graphs and the rest of pages.
constexpr int64_t kCodeBytes = int64_t{64} << 20;

const CudaMatrix& own_matrix(const PackedMatrix& matrix) {
  return own<const CudaMatrix>(matrix, "weights packed by another backend");
}

Rows rows_of(const Matrix& m) { return {m.data, m.stride}; }

// The output `out` of `rows` rows that an operation fills.
const ActivationSlab& begin_fill(LinearInput& out, int64_t rows, int64_t cols) {
  auto& input = own<CudaInput>(out, "linear input of another backend");
  require(input.cols() == cols, "linear input: columns differ");
  require(rows <= input.max_rows(), "linear input: more rows than it holds");
  input.rows = rows;
  return input.slab();
}

void check_norm_columns(int64_t cols) {
  if (cols <= kMostNormColumns) return;
  throw Error(ErrorCode::kUnsupported, "cuda: a norm over " +
                                           std::to_string(cols) +
                                           " columns; expected at most " +
                                           std::to_string(kMostNormColumns));
}

CudaKv& own_kv(const KvLayer& layer) {
  require(layer.storage != nullptr, "KV cache: none");
  auto& kv = own<CudaKv>(*layer.storage, "KV cache of another backend");
  require(layer.layer >= 0 && layer.layer < kv.layout().layers,
          "KV cache: layer out of range");
  return kv;
}

BlockPart part_of(const CudaKv& kv, int layer) {
  const KvLayout& layout = kv.layout();
  return {kv.block_bytes() / layout.layers * layer, layout.kv_heads,
          layout.head_dim,
          static_cast<int32_t>(padded_head_dim(layout.head_dim))};
}

class CudaBackend : public Backend {
 public:
  CudaBackend(int device, int threads, std::string name,
              const DeviceTraits& traits)
      : name_(std::move(name)),
        traits_(traits),
        pool_(threads),
        queue_(std::make_shared<LaunchQueue>(device, traits.overlaps)),
        partials_(queue_),
        linears_(queue_, traits, partials_) {}

  std::string name() const override { return name_; }
  int threads() const override { return pool_.size(); }
  std::optional<int64_t> measured_chunk_tokens() const override {
    return kChunkTokens;
  }

  std::optional<DeviceMemoryState> device_memory() const override {
    size_t free = 0, total = 0;
    queue_->bind();
    check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    return DeviceMemoryState{
        static_cast<int64_t>(free), static_cast<int64_t>(total),
        PartialRoom::kMostBytes + PartialRoom::kMostLaneBytes + kCodeBytes};
  }
  int64_t allocation_bytes(int64_t bytes) const override {
    // What cudaMalloc was seen to take: small ones share a page.
    constexpr int64_t kPageBytes = int64_t{2} << 20;
    constexpr int64_t kSmallStep = 512;
    return round_up(bytes, bytes < kPageBytes / 2 ? kSmallStep : kPageBytes);
  }

  std::unique_ptr<PackedMatrix> pack(const WeightSource& source) override {
    return std::make_unique<CudaMatrix>(queue_, source, pool_);
  }
  int64_t packed_bytes(int64_t rows, int64_t cols,
                       const QuantizedLayout& layout) const override {
    const WeightTiles tiles = plan_tiles(rows, cols, layout);
    return tile_row_bytes(tiles) * tile_row_count(tiles);
  }
  std::unique_ptr<Buffer> upload(std::span<const float> values) override {
    auto buffer = std::make_unique<CudaBuffer>(
        queue_, static_cast<int64_t>(values.size()));
    queue_->copy_to_device(buffer->data(), values.data(), values.size_bytes());
    return buffer;
  }
  std::unique_ptr<Buffer> allocate(int64_t floats) override {
    require(floats >= 0, "allocate: a negative size");
    return std::make_unique<CudaBuffer>(queue_, floats);
  }
  std::unique_ptr<LinearInput> make_input(int64_t max_rows,
                                          int64_t cols) override {
    return std::make_unique<CudaInput>(queue_, max_rows, cols);
  }
  std::unique_ptr<KvStorage> make_kv(const KvLayout& layout) override {
    return std::make_unique<CudaKv>(queue_, layout);
  }

  void embed(const PackedMatrix& table, std::span<const int32_t> tokens,
             float scale, Matrix x) override {
    const CudaMatrix& matrix = own_matrix(table);
    check_matrix(x, "embed: x is not a matrix");
    require(x.rows == static_cast<int64_t>(tokens.size()) &&
                x.cols == matrix.cols(),
            "embed: shapes differ");
    for (const int32_t token : tokens) {
      require(token >= 0 && token < matrix.rows(),
              "embed: a token outside the vocabulary");
    }
    if (x.rows == 0) return;
    const void* staged = queue_->stage(tokens.data(), tokens.size_bytes(), 0);
    launch_embed(*queue_,
                 {matrix.tiles(), static_cast<const int32_t*>(staged),
                  rows_of(x), static_cast<int32_t>(x.cols), scale},
                 x.rows);
  }

  void rope_angles(std::span<const SequenceRows> sequences,
                   std::span<const double> inverse_frequencies,
                   RopeAngles angles) override {
    check_matrix(angles, "rope_angles: angles is not a matrix");
    check_sequences(sequences, angles.rows);
    const auto half = static_cast<int64_t>(inverse_frequencies.size());
    require(angles.cols == 2 * half, "rope_angles: columns differ");
    if (angles.rows == 0) return;
    queue_->make_room(inverse_frequencies.size_bytes() +
                      static_cast<size_t>(angles.rows) * sizeof(int32_t) +
                      kStagePadding);
    const int32_t* positions = stage_positions(*queue_, sequences, angles.rows);
    const void* frequencies = queue_->stage(
        inverse_frequencies.data(), inverse_frequencies.size_bytes(), 0);
    launch_angles(*queue_,
                  {positions, static_cast<const double*>(frequencies),
                   rows_of(angles), static_cast<int32_t>(half)},
                  angles.rows);
  }

  void norm(Matrix x, Vector weight, float eps, LinearInput& out) override {
    check_matrix(x, "norm: x is not a matrix");
    require(weight.size == x.cols, "norm: weight differs in size");
    check_norm_columns(x.cols);
    NormCall call = {};
    call.x = rows_of(x);
    call.next = weight.data;
    call.eps = eps;
    call.cols = static_cast<int32_t>(x.cols);
    call.out = begin_fill(out, x.rows, x.cols);
    launch_norm(*queue_, call, x.rows);
  }

  void linear(const LinearInput& input,
              std::span<const LinearOutput> outputs) override {
    const auto& in = own<const CudaInput>(input, "input of another backend");
    for (const LinearOutput& output : outputs) {
      require(output.weight != nullptr, "linear: no weight");
      const CudaMatrix& weight = own_matrix(*output.weight);
      check_matrix(output.output, "linear: an output is not a matrix");
      require(weight.cols() == input.cols() &&
                  output.output.cols == weight.rows() &&
                  output.output.rows == input.rows,
              "linear: shapes differ");
    }
    if (input.rows == 0 || outputs.empty()) return;
    // Here no launch waits to be fused, and nothing is staged for a later one.
    queue_->play_early();
    last_join_ = just_noted(linears_.linear(in, outputs));
  }

  void heads(const HeadsInput& in, std::span<const SequenceRows> sequences,
             const KvLayer& layer) override {
    const int64_t rows = in.angles.rows;
    const int64_t head_dim = in.angles.cols;
    check_matrix(in.angles, "heads: angles is not a matrix");
    require(attention_supports(static_cast<int>(head_dim)),
            "heads: head_dim is not a multiple of 8 up to 256");
    check_sequences(sequences, rows);
    const auto check_heads = [&](const Matrix& m) {
      check_matrix(m, "heads: q, k or v is not a matrix");
      require(m.rows == rows && m.cols % head_dim == 0, "heads: shapes differ");
    };
    const auto check_norm = [&](const Vector& norm) {
      require(norm.size == 0 || norm.size == head_dim,
              "heads: a norm differs in size");
    };
    check_norm(in.q_norm);
    check_norm(in.k_norm);
    HeadsCall call = {};
    call.angles = rows_of(in.angles);
    call.eps = in.norm_eps;
    call.part.head_dim = static_cast<int32_t>(head_dim);
    if (in.q.data != nullptr) {
      check_heads(in.q);
      call.q = rows_of(in.q);
      call.q_norm = in.q_norm.size > 0 ? in.q_norm.data : nullptr;
      call.q_heads = static_cast<int32_t>(in.q.cols / head_dim);
    }
    if (in.k.data != nullptr) {
      check_heads(in.k);
      check_heads(in.v);
      CudaKv& kv = own_kv(layer);
      require(kv.layout().head_dim == head_dim &&
                  in.k.cols == head_dim * kv.layout().kv_heads &&
                  in.v.cols == in.k.cols,
              "heads: keys and values differ from the cache's shape");
      for (const SequenceRows& sequence : sequences) {
        check_blocks(sequence.tables[static_cast<size_t>(layer.kind)],
                     kv.blocks(), sequence.first_position,
                     sequence.first_position + sequence.rows);
      }
      // Attention may read blocks of earlier passes before the kernels before
      // it have ended: a second pass over a layer gets a flush of its own.
      if (appended_.has(queue_->flushes(), kv, layer.layer)) queue_->flush();
      // In lanes the other chunk's attention of this layer ends first. (Two
      // caches of one kind share their places: an order too many.)
      queue_->begin_passage(layer.layer * kCacheKinds +
                            static_cast<int>(layer.kind));
      call.k = rows_of(in.k);
      call.v = rows_of(in.v);
      call.k_norm = in.k_norm.size > 0 ? in.k_norm.data : nullptr;
      call.part = part_of(kv, layer.layer);
      const StagedSequences staged =
          stage_sequences(*queue_, sequences, rows, layer.kind, kv);
      call.sequences = staged.sequences;
      call.row_sequence = staged.row_sequence;
      // After staging, which may flush too.
      appended_.note(queue_->flushes(), kv, layer.layer, sequences);
    }
    if (in.q.data == nullptr && sequences.empty()) return;
    launch_heads(*queue_, call, rows);
    last_heads_ = just_noted(call);
  }

  void attention(Matrix q, std::span<const SequenceRows> sequences,
                 const KvLayer& layer, const AttentionShape& shape,
                 LinearInput& out) override {
    check_matrix(q, "attention: q is not a matrix");
    CudaKv& kv = own_kv(layer);
    require(shape.head_dim == kv.layout().head_dim &&
                shape.kv_heads == kv.layout().kv_heads && shape.heads > 0 &&
                shape.heads % shape.kv_heads == 0 &&
                q.cols == int64_t{shape.heads} * shape.head_dim,
            "attention: shapes differ");
    require(shape.window >= 0, "attention: a negative window");
    const int group = shape.heads / shape.kv_heads;
    if (!attention_supports(shape.head_dim) || group > kWideQueries) {
      throw Error(ErrorCode::kUnsupported,
                  "cuda: attention with head size " +
                      std::to_string(shape.head_dim) + " and " +
                      std::to_string(group) +
                      " query heads a key head; expected a multiple of 8 up "
                      "to 256, and up to " +
                      std::to_string(kWideQueries));
    }
    check_sequences(sequences, q.rows);
    int64_t most_rows = 0, most_blocks = 0, all_blocks = 0;
    for (const SequenceRows& sequence : sequences) {
      const int64_t begin =
          first_visible(sequence.first_position, shape.window);
      const int64_t end = sequence.first_position + sequence.rows;
      check_blocks(sequence.tables[static_cast<size_t>(layer.kind)],
                   kv.blocks(), begin, end);
      most_rows = std::max(most_rows, sequence.rows);
      all_blocks += static_cast<int64_t>(
          sequence.tables[static_cast<size_t>(layer.kind)].ids.size());
      most_blocks = std::max(
          most_blocks, (end - 1) / kBlockTokens - begin / kBlockTokens + 1);
    }
    AttentionCall call = {};
    call.out = begin_fill(out, q.rows, q.cols);
    if (sequences.empty()) return;
    call.q = rows_of(q);
    call.part = part_of(kv, layer.layer);
    call.window = shape.window;
    call.scale = shape.scale;
    call.softcap = shape.softcap;
    call.group = group;
    call.group_inverse = ((1 << 16) + group - 1) / group;
    const int64_t splits = round_up(most_blocks, kSplitStep);
    const bool are_few = most_rows * group <= kFewQueries;
    const bool is_tensor =
        !are_few && tensor_attention_supports(traits_, shape.head_dim);
    call.tile_rows = static_cast<int32_t>(
        are_few ? most_rows
                : (is_tensor ? kTensorQueries : kWideQueries) / group);
    const std::vector<QueryTile> tiles = cut_tiles(sequences, call.tile_rows);
    const auto count = static_cast<int64_t>(tiles.size());
    const bool is_joint = are_few && cut_joint(traits_, call, splits);
    const bool is_split =
        are_few && !is_joint &&
        give_partials(call, std::ssize(sequences) * shape.kv_heads, splits,
                      call.part.padded_dim);

    // Only now: room for partial results flushes, and with it goes what is
    // staged.
    queue_->make_room(sequences.size() * sizeof(SequenceInfo) +
                      static_cast<size_t>(all_blocks) * sizeof(void*) +
                      static_cast<size_t>(q.rows) *
                          (sizeof(int32_t) + sizeof(QueryTile)) +
                      4 * kStagePadding);
    call.sequences =
        stage_sequences(*queue_, sequences, q.rows, layer.kind, kv).sequences;
    call.tiles = static_cast<const QueryTile*>(
        queue_->stage(tiles.data(), tiles.size() * sizeof(QueryTile), 0));
    // This flush has written no block before these rows, unless they are only
    // some of those whose keys it appended; and what another lane wrote there
    // was waited for by heads(), which did not start early for that.
    call.reads_ahead =
        appended_.is_of(queue_->flushes(), kv, layer.layer, sequences) ? 1 : 0;
    if (is_joint) {
      take_heads(call);
      launch_attention_joint(*queue_, call, count);
    } else if (is_split) {
      launch_attention_split(*queue_, call, count);
    } else if (is_tensor) {
      launch_attention_tensor(*queue_, call, count);
    } else {
      launch_attention_wide(*queue_, call, count);
    }
    queue_->end_passage();
  }

  void add_norm(Matrix x, Matrix y, Vector post_norm, Vector next_norm,
                float eps, LinearInput* out) override {
    check_matrix(x, "add_norm: x is not a matrix");
    check_matrix(y, "add_norm: y is not a matrix");
    require(y.rows == x.rows && y.cols == x.cols, "add_norm: shapes differ");
    require(post_norm.size == 0 || post_norm.size == x.cols,
            "add_norm: post_norm differs in size");
    check_norm_columns(x.cols);
    NormCall call = {};
    call.x = rows_of(x);
    call.y = rows_of(y);
    call.post = post_norm.size > 0 ? post_norm.data : nullptr;
    call.eps = eps;
    call.cols = static_cast<int32_t>(x.cols);
    if (out != nullptr) {
      require(next_norm.size == x.cols, "add_norm: next_norm differs in size");
      call.next = next_norm.data;
      call.out = begin_fill(*out, x.rows, x.cols);
    }
    take_join(call, x.rows);
    launch_norm(*queue_, call, x.rows);
  }

  void gated_linear(const LinearInput& input, const PackedMatrix& gate,
                    const PackedMatrix& up, Activation activation,
                    LinearInput& out) override {
    const auto& in = own<const CudaInput>(input, "input of another backend");
    const WeightTiles& gates = own_matrix(gate).tiles();
    const WeightTiles& ups = own_matrix(up).tiles();
    require(gate.cols() == input.cols() && up.cols() == input.cols() &&
                gate.rows() == up.rows(),
            "gated_linear: shapes differ");
    require(&input != &out, "gated_linear: input and output are the same");
    const ActivationSlab& slab = begin_fill(out, input.rows, gate.rows());
    if (input.rows == 0) return;
    linears_.gated(in, gates, ups, activation, slab);
  }

  void gather(Matrix in, std::span<const int64_t> rows, Matrix out) override {
    check_matrix(in, "gather: in is not a matrix");
    check_matrix(out, "gather: out is not a matrix");
    require(
        out.rows == static_cast<int64_t>(rows.size()) && out.cols == in.cols,
        "gather: shapes differ");
    for (const int64_t row : rows) {
      require(row >= 0 && row < in.rows, "gather: row out of range");
    }
    if (rows.empty()) return;
    const void* staged = queue_->stage(rows.data(), rows.size_bytes(), 0);
    launch_gather(*queue_,
                  {rows_of(in), static_cast<const int64_t*>(staged),
                   rows_of(out), static_cast<int32_t>(in.cols)},
                  out.rows);
  }

  void read(Matrix in, int64_t row, float* out) override {
    check_matrix(in, "read: not a matrix");
    require(row >= 0 && row < in.rows, "read: row out of range");
    queue_->copy_from_device(out, in.data + row * in.stride,
                             static_cast<size_t>(in.cols) * sizeof(float));
  }

  bool eager() const override { return false; }
  int lanes(int64_t rows) const override {
    // Where it was measured.
    return traits_.has_wgmma && rows <= kMostLaneRows ? LaunchQueue::kLanes : 1;
  }
  void use_lane(int lane) override {
    require(lane >= 0 && lane < LaunchQueue::kLanes, "use_lane: out of range");
    queue_->use_lane(lane);
  }
  void join_lanes() noexcept override { queue_->join_lanes(); }
  int64_t submit() override { return queue_->submit(); }
  void wait(int64_t ticket) override { queue_->wait(ticket); }
  int64_t launches() const { return queue_->launches(); }

 private:
  static constexpr int64_t kChunkTokens = 2048;
  static constexpr int64_t kSplitStep = 4;
  static constexpr size_t kStagePadding = 512;

  static int64_t first_visible(int64_t position, int64_t window) {
    return window > 0 && position >= window ? position - window + 1 : 0;
  }

  // Room for what `splits` parts of each tile's keys give: not if that is too
  // much.
  bool give_partials(AttentionCall& call, int64_t tile_heads, int64_t splits,
                     int padded_dim) {
    const int64_t bytes = tile_heads * splits * partial_floats(padded_dim) *
                          static_cast<int64_t>(sizeof(float));
    if (bytes > partials_.most_bytes()) return false;
    call.partials = partials_.fit(bytes);
    call.splits = static_cast<int32_t>(splits);
    return true;
  }

  // A launch, and how many were then noted in that flush.
  template <class Call>
  struct Last {
    Call call;
    uint64_t flush;
    size_t noted;
  };
  template <class Call>
  Last<Call> just_noted(const Call& call) const {
    return {call, queue_->flushes(), queue_->noted()};
  }
  // Whether nothing was noted or flushed since.
  template <class Call>
  bool is_last(const Last<Call>& last) const {
    return last.flush == queue_->flushes() && last.noted == queue_->noted();
  }

  // If heads() of the same rows was the last launch, the attention kernel does
  // its work too.
  void take_heads(AttentionCall& call) {
    const HeadsCall& heads = last_heads_.call;
    if (call.reads_ahead == 0 || !is_last(last_heads_) ||
        heads.k.data == nullptr || heads.q.data != call.q.data ||
        heads.q.stride != call.q.stride ||
        heads.q_heads != call.group * call.part.kv_heads ||
        heads.sequences != call.sequences ||
        heads.part.layer_offset != call.part.layer_offset) {
      return;
    }
    queue_->take_back();
    call.has_heads = 1;
    call.heads = heads;
    last_heads_ = {};
  }

  // If joining the sums that make y was the last launch, the norm does it.
  void take_join(NormCall& call, int64_t rows) {
    const JoinCall& join = last_join_.call;
    if (join.slots == 0 || !is_last(last_join_) ||
        join.out.data != call.y.data || join.out.stride != call.y.stride ||
        join.rows != rows || join.cols != call.cols) {
      return;
    }
    queue_->take_back();
    call.join = join;
    last_join_ = {};
  }

  std::string name_;
  DeviceTraits traits_;
  ThreadPool pool_;
  std::shared_ptr<LaunchQueue> queue_;
  PartialRoom partials_;
  LinearLauncher linears_;
  AppendLog appended_;
  Last<HeadsCall> last_heads_ = {};
  Last<JoinCall> last_join_ = {};
};

}  // namespace
}  // namespace cuda

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

std::unique_ptr<Backend> make_cuda_backend(int device, int threads) {
  const int count = cuda::count_devices();
  if (device < 0 || device >= count) {
    throw Error(ErrorCode::kDevice,
                "cuda: there is no device " + std::to_string(device) +
                    "; this process sees " + std::to_string(count) +
                    ", numbered from 0");
  }
  cuda::check(cudaSetDevice(device), "choosing the device");
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, device),
              "asking for the device's properties");
  cuda::check_architecture(properties.name, properties.major, properties.minor,
                           cuda::code_status());
  const cuda::DeviceTraits traits = cuda::read_traits(properties);
  return std::make_unique<cuda::CudaBackend>(
      device, threads, std::string("cuda ") + properties.name, traits);
}

int64_t count_cuda_launches(const Backend& backend) {
  return own<const cuda::CudaBackend>(backend, "launches of another backend")
      .launches();
}

}  // namespace carat
