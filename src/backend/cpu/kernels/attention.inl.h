// Attention of some query vectors of one kv head over its cache.
//
// Blocks of 64 keys in ascending order, softmax kept online. Both products are
// the same register tile, kChunkVectors queries x some 16-lane vectors: keys
// are the lanes of scores (K is stored transposed), value columns those of
// outputs, so no sum ever crosses lanes. Bound by fma throughput where a tile
// has many queries, by reading the cache in decode. Measured on one Zen 4 core,
// November 2026, heads of 256 sharing by 4, 577 rows: 48 G fma/s of 59 (AVX2
// 32).
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

constexpr int64_t kSpan = 1024;  // positions finished apart, then merged
constexpr int kBlockVectors = kBlock / 16;

CARAT_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
CARAT_INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
CARAT_INLINE int64_t padded(int64_t head_dim) {
  return (head_dim + 15) / 16 * 16;
}

CARAT_INLINE float exp_of(float x) {
  float lanes[16];
  store(lanes, exp(broadcast(x)));
  return lanes[0];
}

CARAT_INLINE float max_of(float a, float b) { return a > b ? a : b; }

// Positions [begin, end) that a query vector sees.
struct Range {
  int64_t begin;
  int64_t end;
};

CARAT_INLINE Range visible(const AttentionCall& c, int64_t vector) {
  const int64_t position =
      c.first_position + (c.first_vector + vector) / c.sharing;
  const int64_t begin = c.window > 0 ? greater(0, position - c.window + 1) : 0;
  return {begin, position + 1};
}

// scores[q][16 v + lane] of kVectors vectors of keys.
template <int kQueries, int kVectors>
CARAT_INLINE void score_tile(const float* q, int64_t stride,
                             const uint16_t* keys, int64_t head_dim,
                             float* scores) {
  F32x16 s[kQueries][kVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) s[i][v] = zero();
  }
  for (int64_t d = 0; d < head_dim; ++d) {
    F32x16 k[kVectors];
    CARAT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      k[v] = load_f16(keys + d * kBlock + v * 16);
    }
    CARAT_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const F32x16 x = broadcast(q[i * stride + d]);
      CARAT_UNROLL
      for (int v = 0; v < kVectors; ++v) s[i][v] = fma(x, k[v], s[i][v]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      store(scores + i * kBlock + v * 16, s[i][v]);
    }
  }
}

// output[q][16 v + lane] = it * alpha[q] + sum over keys of p * value.
template <int kQueries, int kVectors>
CARAT_INLINE void value_tile(const float* p, const float* alpha,
                             const uint16_t* values, Range keys, int64_t stride,
                             float* output) {
  F32x16 o[kQueries][kVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      o[i][v] = load(output + i * stride + v * 16) * broadcast(alpha[i]);
    }
  }
  for (int64_t key = keys.begin; key < keys.end; ++key) {
    F32x16 x[kVectors];
    CARAT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      x[v] = load_f16(values + key * stride + v * 16);
    }
    CARAT_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const F32x16 weight = broadcast(p[i * kBlock + key]);
      CARAT_UNROLL
      for (int v = 0; v < kVectors; ++v) o[i][v] = fma(weight, x[v], o[i][v]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      store(output + i * stride + v * 16, o[i][v]);
    }
  }
}

// A chunk's part of one block. `keys` are the visible ones of any query.
struct ChunkBlock {
  const float* q;  // scaled
  const uint16_t* keys;
  const uint16_t* values;
  int64_t head_dim;
  Range visible_keys;
  float* scores;  // then the probabilities
  const float* alpha;
  float* output;
};

template <int kQueries>
void score_chunk(const ChunkBlock& c) {
  constexpr int kVectors = vectors_for(kQueries);
  const int64_t stride = padded(c.head_dim);
  int64_t v = c.visible_keys.begin / 16;
  const int64_t end = (c.visible_keys.end + 15) / 16;
  for (; v + kVectors <= end; v += kVectors) {
    score_tile<kQueries, kVectors>(c.q, stride, c.keys + v * 16, c.head_dim,
                                   c.scores + v * 16);
  }
  for (; v < end; ++v) {
    score_tile<kQueries, 1>(c.q, stride, c.keys + v * 16, c.head_dim,
                            c.scores + v * 16);
  }
}

template <int kQueries>
void value_chunk(const ChunkBlock& c) {
  constexpr int kVectors = vectors_for(kQueries);
  const int64_t stride = padded(c.head_dim);
  int64_t d = 0;
  for (; d + kVectors * 16 <= stride; d += kVectors * 16) {
    value_tile<kQueries, kVectors>(c.scores, c.alpha, c.values + d,
                                   c.visible_keys, stride, c.output + d);
  }
  for (; d < stride; d += 16) {
    value_tile<kQueries, 1>(c.scores, c.alpha, c.values + d, c.visible_keys,
                            stride, c.output + d);
  }
}

using BlockKernel = void (*)(const ChunkBlock&);
struct BlockKernels {
  BlockKernel scores[kChunkVectors];
  BlockKernel values[kChunkVectors];
};

template <int kQueries>
void fill_block_kernels(BlockKernels& kernels) {
  kernels.scores[kQueries - 1] = score_chunk<kQueries>;
  kernels.values[kQueries - 1] = value_chunk<kQueries>;
  if constexpr (kQueries > 1) fill_block_kernels<kQueries - 1>(kernels);
}

// Scores of one query and block -> probabilities; updates the running maximum
// and sum, returns what the output so far is multiplied by. Keys outside
// `keys` (not empty) are not seen.
CARAT_INLINE float soften(float* scores, Range keys, float softcap,
                          float& maximum, float& sum) {
  F32x16 s[kBlockVectors];
  F32x16 p[kBlockVectors];
  const F32x16 unseen = broadcast(-__builtin_inff());
  for (int v = 0; v < kBlockVectors; ++v) {
    const Range lanes = {keys.begin - v * 16, keys.end - v * 16};
    if (lanes.begin >= 16 || lanes.end <= 0) {
      s[v] = unseen;
      continue;
    }
    F32x16 x = load(scores + v * 16);
    if (softcap > 0) {
      const F32x16 cap = broadcast(softcap);
      x = cap * tanh(x / cap);
    }
    s[v] = select(lanes_between(lanes.begin, lanes.end), x, unseen);
  }
  const float largest =
      max_of(maximum, reduce_max(max(max(s[0], s[1]), max(s[2], s[3]))));
  for (int v = 0; v < kBlockVectors; ++v) {
    const Range lanes = {keys.begin - v * 16, keys.end - v * 16};
    p[v] = select(lanes_between(lanes.begin, lanes.end),
                  exp(s[v] - broadcast(largest)), zero());
    store(scores + v * 16, p[v]);
  }
  const float alpha = exp_of(maximum - largest);
  maximum = largest;
  sum = __builtin_fmaf(sum, alpha, reduce_add((p[0] + p[1]) + (p[2] + p[3])));
  return alpha;
}

// Merges one vector of `next` into `state`.
CARAT_INLINE void merge_vector(const AttentionState& state,
                               const AttentionState& next, int64_t vector,
                               int64_t stride) {
  float* output = state.output + vector * stride;
  const float* added = next.output + vector * stride;
  if (!state.seen[vector]) {
    state.seen[vector] = 1;
    state.maximum[vector] = next.maximum[vector];
    state.sum[vector] = next.sum[vector];
    for (int64_t d = 0; d < stride; d += 16) {
      store(output + d, load(added + d));
    }
    return;
  }
  const float largest = max_of(state.maximum[vector], next.maximum[vector]);
  const float a = exp_of(state.maximum[vector] - largest);
  const float b = exp_of(next.maximum[vector] - largest);
  state.maximum[vector] = largest;
  state.sum[vector] =
      __builtin_fmaf(state.sum[vector], a, next.sum[vector] * b);
  for (int64_t d = 0; d < stride; d += 16) {
    store(output + d,
          fma(load(output + d), broadcast(a), load(added + d) * broadcast(b)));
  }
}

void merge(const AttentionState& state, const AttentionState& next,
           int64_t vectors, int64_t head_dim) {
  for (int64_t i = 0; i < vectors; ++i) {
    if (next.seen[i]) merge_vector(state, next, i, padded(head_dim));
  }
}

// A span's own state and buffers, cut out of scratch.
struct AttentionScratch {
  float* q;       // [vectors, padded(head_dim)], scaled
  float* scores;  // [kChunkVectors, 64]
  AttentionState span;
};

int64_t attention_scratch(int64_t vectors, int64_t head_dim) {
  return 2 * vectors * padded(head_dim) + kChunkVectors * kBlock +
         3 * padded(vectors);
}

CARAT_INLINE AttentionScratch cut_scratch(float* scratch, int64_t vectors,
                                          int64_t head_dim) {
  AttentionScratch s;
  s.q = scratch;
  s.span.output = s.q + vectors * padded(head_dim);
  s.scores = s.span.output + vectors * padded(head_dim);
  s.span.maximum = s.scores + kChunkVectors * kBlock;
  s.span.sum = s.span.maximum + padded(vectors);
  s.span.seen = reinterpret_cast<uint8_t*>(s.span.sum + padded(vectors));
  return s;
}

// Queries [first, first + count) of the call over one block.
CARAT_INLINE void attend_block(const AttentionCall& c,
                               const BlockKernels& kernels, int64_t block,
                               int64_t first, int64_t count,
                               const AttentionScratch& scratch) {
  const int64_t base = block * kBlock;
  Range of_query[kChunkVectors];
  Range of_any = {kBlock, 0};
  for (int64_t i = 0; i < count; ++i) {
    const Range seen = visible(c, first + i);
    of_query[i] = {greater(0, seen.begin - base),
                   smaller(kBlock, seen.end - base)};
    if (of_query[i].begin >= of_query[i].end) continue;
    of_any.begin = smaller(of_any.begin, of_query[i].begin);
    of_any.end = greater(of_any.end, of_query[i].end);
  }
  if (of_any.begin >= of_any.end) return;
  const int64_t stride = padded(c.head_dim);
  float alpha[kChunkVectors];
  ChunkBlock work;
  work.q = scratch.q + first * stride;
  work.keys = c.blocks[block - c.first_block];
  work.values = work.keys + c.value_offset;
  work.head_dim = c.head_dim;
  work.visible_keys = of_any;
  work.scores = scratch.scores;
  work.alpha = alpha;
  work.output = scratch.span.output + first * stride;
  kernels.scores[count - 1](work);
  for (int64_t i = 0; i < count; ++i) {
    float* scores = scratch.scores + i * kBlock;
    if (of_query[i].begin >= of_query[i].end) {
      for (int v = 0; v < kBlockVectors; ++v) store(scores + v * 16, zero());
      alpha[i] = 1.0f;
      continue;
    }
    scratch.span.seen[first + i] = 1;
    alpha[i] =
        soften(scores, of_query[i], c.softcap, scratch.span.maximum[first + i],
               scratch.span.sum[first + i]);
  }
  kernels.values[count - 1](work);
}

void attend(const AttentionCall& c, int64_t first_span, int64_t end_span,
            float* scratch_floats, const AttentionState& state) {
  BlockKernels kernels;
  fill_block_kernels<kChunkVectors>(kernels);
  const AttentionScratch scratch =
      cut_scratch(scratch_floats, c.vectors, c.head_dim);
  const int64_t stride = padded(c.head_dim);
  for (int64_t i = 0; i < c.vectors; ++i) {
    const int64_t vector = c.first_vector + i;
    const float* q =
        c.q + vector / c.sharing * c.q_stride + vector % c.sharing * c.head_dim;
    for (int64_t d = 0; d < c.head_dim; d += 16) {
      store(scratch.q + i * stride + d,
            load_first(q + d, c.head_dim - d) * broadcast(c.scale));
    }
  }
  const Range any = {visible(c, 0).begin, visible(c, c.vectors - 1).end};
  for (int64_t span = first_span; span < end_span; ++span) {
    const Range keys = {greater(any.begin, span * kSpan),
                        smaller(any.end, (span + 1) * kSpan)};
    if (keys.begin >= keys.end) continue;
    for (int64_t i = 0; i < c.vectors; ++i) {
      scratch.span.maximum[i] = -__builtin_inff();
      scratch.span.sum[i] = 0.0f;
      scratch.span.seen[i] = 0;
    }
    for (int64_t i = 0; i < c.vectors * stride; i += 16) {
      store(scratch.span.output + i, zero());
    }
    for (int64_t block = keys.begin / kBlock; block * kBlock < keys.end;
         ++block) {
      for (int64_t first = 0; first < c.vectors; first += kChunkVectors) {
        attend_block(c, kernels, block, first,
                     smaller(kChunkVectors, c.vectors - first), scratch);
      }
    }
    merge(state, scratch.span, c.vectors, c.head_dim);
  }
}

void finish(const AttentionState& state, int64_t vector, int64_t head_dim,
            float* out) {
  const float* output = state.output + vector * padded(head_dim);
  const F32x16 factor = broadcast(1.0f / state.sum[vector]);
  for (int64_t d = 0; d < head_dim; d += 16) {
    store_first(out + d, load(output + d) * factor, head_dim - d);
  }
}

void finish_quantized(const AttentionState& state, int64_t vector,
                      int64_t head_dim, int64_t row, int64_t first_group,
                      const QuantizedRows& out) {
  const float* output = state.output + vector * padded(head_dim);
  const F32x16 factor = broadcast(1.0f / state.sum[vector]);
  for (int64_t d = 0; d < head_dim; d += kGroup) {
    quantize_group(load(output + d) * factor, load(output + d + 16) * factor,
                   out, row, first_group + d / kGroup);
  }
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
