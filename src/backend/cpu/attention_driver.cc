#include "backend/cpu/attention_driver.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/checked.h"

namespace carat::cpu {
namespace {

int64_t state_floats(int64_t vectors, int64_t head_dim) {
  return vectors * round_up(head_dim, 16) + 3 * round_up(vectors, 16);
}

// The state that lies in some memory.
AttentionState view_state(float* memory, int64_t vectors, int64_t head_dim) {
  AttentionState state;
  state.output = memory;
  state.maximum = memory + vectors * round_up(head_dim, 16);
  state.sum = state.maximum + round_up(vectors, 16);
  state.seen = reinterpret_cast<uint8_t*>(state.sum + round_up(vectors, 16));
  return state;
}

}  // namespace

void AttentionDriver::resolve_blocks(std::span<const SequenceRows> sequences,
                                     const KvLayer& layer, CpuKv& kv,
                                     const AttentionShape& shape) {
  blocks_.clear();
  first_blocks_.clear();
  first_visible_.clear();
  for (const SequenceRows& sequence : sequences) {
    const BlockTable& table = sequence.tables[static_cast<size_t>(layer.kind)];
    const PositionRange range =
        visible_positions(sequence, shape.window, 0, sequence.rows - 1);
    const int64_t first = range.begin / kBlock;
    first_visible_.push_back(first);
    for (int head = 0; head < shape.kv_heads; ++head) {
      first_blocks_.push_back(blocks_.size());
      for (int64_t block = first; block * kBlock < range.end; ++block) {
        const int32_t id =
            table.ids[static_cast<size_t>(block - table.first_block)];
        blocks_.push_back(kv.keys(id, layer.layer, head));
      }
    }
  }
}

AttentionCall AttentionDriver::call_of(const Operation& op,
                                       const AttentionUnit& unit) const {
  const AttentionShape& shape = op.shape;
  const auto s = static_cast<size_t>(unit.sequence);
  const SequenceRows& sequence = op.sequences[s];
  const int sharing = shape.heads / shape.kv_heads;
  AttentionCall call;
  call.q = op.q.data + sequence.first_row * op.q.stride +
           int64_t{unit.kv_head} * sharing * shape.head_dim;
  call.q_stride = op.q.stride;
  call.first_position = sequence.first_position;
  const size_t head = s * static_cast<size_t>(shape.kv_heads) +
                      static_cast<size_t>(unit.kv_head);
  call.blocks = blocks_.data() + first_blocks_[head];
  call.first_block = first_visible_[s];
  call.value_offset = op.value_offset;
  call.window = shape.window;
  call.first_vector = unit.first_vector;
  call.vectors = unit.vectors;
  call.sharing = sharing;
  call.head_dim = shape.head_dim;
  call.scale = shape.scale;
  call.softcap = shape.softcap;
  return call;
}

void AttentionDriver::finish(const Operation& op, const AttentionUnit& unit,
                             const AttentionState& state) {
  const int head_dim = op.shape.head_dim;
  const int sharing = op.shape.heads / op.shape.kv_heads;
  const SequenceRows& sequence =
      op.sequences[static_cast<size_t>(unit.sequence)];
  for (int64_t i = 0; i < unit.vectors; ++i) {
    const int64_t vector = unit.first_vector + i;
    const int64_t row = sequence.first_row + vector / sharing;
    const int64_t col =
        (int64_t{unit.kv_head} * sharing + vector % sharing) * head_dim;
    if (head_dim % kGroup == 0) {
      kernels_.finish_quantized(state, i, head_dim, row, col / kGroup, op.out);
    } else {
      const int64_t stride = int64_t{op.shape.heads} * head_dim;
      kernels_.finish(state, i, head_dim,
                      rows_.as<float>() + row * stride + col);
    }
  }
}

void AttentionDriver::run(Matrix q, std::span<const SequenceRows> sequences,
                          const KvLayer& layer, CpuKv& kv,
                          const AttentionShape& shape,
                          const QuantizedRows& out) {
  const Operation op = {q, sequences, shape, out, kv.value_offset()};
  const int head_dim = shape.head_dim;
  resolve_blocks(sequences, layer, kv, shape);
  plan_attention(sequences, shape, kernels_.chunk_vectors, pool_.size(),
                 units_);
  int64_t most_vectors = 1;
  bool has_parts = false;
  for (const AttentionUnit& unit : units_) {
    most_vectors = std::max<int64_t>(most_vectors, unit.vectors);
    has_parts = has_parts || unit.parts != 1;
  }
  const int64_t state_size = state_floats(most_vectors, head_dim);
  const int64_t work_size = kernels_.attention_scratch(most_vectors, head_dim);
  scratch_.fit(static_cast<size_t>(state_size + work_size) * sizeof(float));
  const auto units = static_cast<int64_t>(units_.size());
  if (has_parts) {
    const auto bytes = static_cast<size_t>(units * state_size) * sizeof(float);
    if (partials_.bytes() < bytes) partials_ = AlignedBuffer(bytes);
  }
  const bool is_whole_groups = head_dim % kGroup == 0;
  const int64_t width = int64_t{shape.heads} * head_dim;
  if (!is_whole_groups) {
    const auto bytes = static_cast<size_t>((q.rows * width + 16) * 4);
    if (rows_.bytes() < bytes) rows_ = AlignedBuffer(bytes);
  }

  // Units differ in cost, and other programs may slow a thread: each takes the
  // next one when it is free.
  std::atomic<int64_t> next{units - 1};
  pool_.run([&](int thread) {
    float* work = scratch_.at<float>(thread);
    // Later positions see more: the long units first.
    while (true) {
      const int64_t index = next.fetch_sub(1, std::memory_order_relaxed);
      if (index < 0) return;
      const AttentionUnit& unit = units_[static_cast<size_t>(index)];
      float* memory = unit.parts == 1
                          ? work + work_size
                          : partials_.as<float>() + index * state_size;
      const AttentionState state = view_state(memory, unit.vectors, head_dim);
      std::memset(state.seen, 0, static_cast<size_t>(unit.vectors));
      kernels_.attend(call_of(op, unit), unit.first_span, unit.end_span, work,
                      state);
      if (unit.parts == 1) finish(op, unit, state);
    }
  });
  if (has_parts) {
    pool_.for_range(units, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const AttentionUnit& unit = units_[static_cast<size_t>(i)];
        if (unit.parts < 2) continue;
        float* memory = partials_.as<float>() + i * state_size;
        const AttentionState state = view_state(memory, unit.vectors, head_dim);
        for (int part = 1; part < unit.parts; ++part) {
          kernels_.merge(
              state,
              view_state(memory + part * state_size, unit.vectors, head_dim),
              unit.vectors, head_dim);
        }
        finish(op, unit, state);
      }
    });
  }
  if (!is_whole_groups) {
    pool_.for_range(q.rows, [&](int64_t begin, int64_t end) {
      kernels_.quantize({rows_.as<float>(), width, width}, begin, end - begin,
                        out);
    });
  }
}

}  // namespace carat::cpu
