// Operations on rows: quantisation, norms, RoPE, embedding. All are bound by
// memory and latency, not arithmetic.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// Up to 32 values, the rest zero, as one activation group. A group without a
// finite, non-zero largest value is all zero; so is a NaN.
CARAT_INLINE void quantize_group(F32x16 a, F32x16 b, const QuantizedRows& out,
                                 int64_t row, int64_t group) {
  const float above = reduce_max(max(a, b));
  const float below = reduce_max(max(negate(a), negate(b)));
  // The value farthest from zero becomes -128, whatever its sign.
  const float extreme = above >= below ? above : -below;
  const float amax = above >= below ? above : below;
  float scale = 0.0f, inverse = 0.0f;
  if (amax > 0.0f && amax <= 0x1.fffffep127f) {
    scale = extreme * -0x1p-7f;
    inverse = -128.0f / extreme;
  }
  const F32x16 factor = broadcast(inverse);
  const F32x16 low = broadcast(-128.0f);
  const F32x16 high = broadcast(127.0f);
  const auto quantized = [&](F32x16 x) {
    const F32x16 y = x * factor;
    const F32x16 number = select(is_number(y), y, zero());
    return round_to_int(max(low, min(high, number)));
  };
  const I32x16 qa = quantized(a);
  const I32x16 qb = quantized(b);
  int8_t* codes = out.codes + row * out.stride + group * kGroup;
  store_i8(codes, qa);
  store_i8(codes + 16, qb);
  out.scales[row * out.groups + group] = scale;
  int32_t* sums = out.sums + (row * out.groups + group) * 2;
  sums[0] = reduce_add(qa);
  sums[1] = reduce_add(qb);
}

// Quantises what value(i) gives for the vectors i of a row of `cols` floats.
template <class Value>
CARAT_INLINE void quantize_row(int64_t cols, int64_t row,
                               const QuantizedRows& out, const Value& value) {
  const int64_t vectors = (cols + 15) / 16;
  for (int64_t group = 0; group < out.groups; ++group) {
    const F32x16 a = value(2 * group);
    const F32x16 b = 2 * group + 1 < vectors ? value(2 * group + 1) : zero();
    quantize_group(a, b, out, row, group);
  }
}

// Vector i of a row, zero beyond its end.
CARAT_INLINE F32x16 row_vector(const float* row, int64_t i, int64_t cols) {
  return load_first(row + 16 * i, cols - 16 * i);
}

CARAT_INLINE float inverse_rms(F32x16 squares, int64_t cols, float eps) {
  const float mean = reduce_add(squares) / static_cast<float>(cols);
  return 1.0f / __builtin_sqrtf(mean + eps);
}

CARAT_INLINE float row_inverse_rms(const float* row, int64_t cols, float eps) {
  F32x16 squares = zero();
  for (int64_t i = 0; i * 16 < cols; ++i) {
    const F32x16 x = row_vector(row, i, cols);
    squares = fma(x, x, squares);
  }
  return inverse_rms(squares, cols, eps);
}

CARAT_INLINE void quantize_normed(const float* row, float r,
                                  const float* weight, int64_t cols,
                                  int64_t row_index, const QuantizedRows& out) {
  const F32x16 factor = broadcast(r);
  quantize_row(cols, row_index, out, [&](int64_t i) {
    return (row_vector(row, i, cols) * factor) * row_vector(weight, i, cols);
  });
}

void quantize(const FloatRows& in, int64_t first_row, int64_t rows,
              const QuantizedRows& out) {
  for (int64_t t = first_row; t < first_row + rows; ++t) {
    const float* row = in.data + t * in.stride;
    quantize_row(in.cols, t, out,
                 [&](int64_t i) { return row_vector(row, i, in.cols); });
  }
}

void norm(const FloatRows& x, const float* weight, float eps, int64_t first_row,
          int64_t rows, const QuantizedRows& out) {
  for (int64_t t = first_row; t < first_row + rows; ++t) {
    const float* row = x.data + t * x.stride;
    quantize_normed(row, row_inverse_rms(row, x.cols, eps), weight, x.cols, t,
                    out);
  }
}

void add_norm(const FloatRows& x, const FloatRows& y, const float* post_norm,
              const float* next_norm, float eps, int64_t first_row,
              int64_t rows, const QuantizedRows* out) {
  const int64_t cols = x.cols;
  for (int64_t t = first_row; t < first_row + rows; ++t) {
    float* row = x.data + t * x.stride;
    const float* branch = y.data + t * y.stride;
    F32x16 factor = broadcast(1.0f);
    if (post_norm != nullptr) {
      factor = broadcast(row_inverse_rms(branch, cols, eps));
    }
    F32x16 squares = zero();
    for (int64_t i = 0; i * 16 < cols; ++i) {
      F32x16 added = row_vector(branch, i, cols);
      if (post_norm != nullptr) {
        added = (added * factor) * row_vector(post_norm, i, cols);
      }
      const F32x16 sum = row_vector(row, i, cols) + added;
      store_first(row + 16 * i, sum, cols - 16 * i);
      squares = fma(sum, sum, squares);
    }
    if (out != nullptr) {
      quantize_normed(row, inverse_rms(squares, cols, eps), next_norm, cols, t,
                      *out);
    }
  }
}

// Bytes of the codes of a group of a tile.
constexpr int64_t code_bytes(int code_bits) {
  return kGroup * kTile * (code_bits < 7 ? code_bits : 8) / 8;
}

// Four codes of one output, whose words of each vector of 128 bytes begin at p.
CARAT_INLINE uint32_t quad_of(const uint8_t* p, int code_bits, int quad) {
  const auto word = [&](int vector) {
    uint32_t four;
    __builtin_memcpy(&four, p + vector * 128, 4);
    return four;
  };
  if (code_bits >= 7) return word(quad);
  const int high_bits = code_bits - 4;
  uint32_t four = word(high_bits + quad / 2) >> (quad % 2 * 4) & 0x0f0f0f0fu;
  if (high_bits > 0) {
    const int plane_quads = 8 / high_bits;
    const uint32_t high_mask = 0x01010101u * ((1u << high_bits) - 1);
    const uint32_t plane = word(quad / plane_quads);
    four |= (plane >> (quad % plane_quads * high_bits) & high_mask) << 4;
  }
  return four;
}

// w = factor * (scale * (code - zero point)), or factor * (scale * code +
// bias).
void embed(const WeightTiles& w, int64_t row, float scale, float* out,
           int64_t cols) {
  const int64_t lane = row % kTile;
  const int64_t parts = w.has_bias ? 2 : 1;
  const int64_t record_groups = w.has_super_blocks ? kSuperGroups : w.shared;
  const uint8_t* p = w.tiles + (row / kTile) * w.tile_bytes;
  const uint16_t* halves = nullptr;
  const uint8_t* integers = nullptr;
  const F32x16 factor = broadcast(w.factors[row]);
  const I32x16 zero_point = broadcast(w.zero_point);
  // Part 0: the scale of a step, part 1: its bias.
  const auto part_at = [&](int64_t part, int step) {
    // One half of a vector of 16, so that f16 is read one way only.
    float lanes[16];
    store(lanes, load_f16(halves + part * kTile + lane / 16 * 16));
    float value = lanes[lane % 16];
    if (w.has_super_blocks) {
      const int64_t at = (part * w.steps + step) * kTile + lane;
      value *= static_cast<float>(static_cast<int8_t>(integers[at]));
    }
    return broadcast(value);
  };
  for (int64_t group = 0; group < w.groups; ++group) {
    if (group % record_groups == 0) {
      halves = reinterpret_cast<const uint16_t*>(p);
      p += parts * kTile * 2;
    }
    if (w.has_super_blocks) {
      integers = p;
      p += parts * w.steps * kTile;
    }
    uint8_t codes[kGroup];
    for (int quad = 0; quad < 8; ++quad) {
      const uint32_t four = quad_of(p + lane * 4, w.code_bits, quad);
      __builtin_memcpy(codes + 4 * quad, &four, 4);
    }
    p += code_bytes(w.code_bits);
    for (int half = 0; half < 2; ++half) {
      const int step = w.steps == 2 ? half : 0;
      const F32x16 s = part_at(0, step);
      const F32x16 code = to_float(load_u8(codes + 16 * half) - zero_point);
      const F32x16 value =
          w.has_bias ? fma(s, code, part_at(1, step)) : s * code;
      const int64_t at = group * kGroup + half * 16;
      if (at < cols) {
        store_first(out + at, (value * factor) * broadcast(scale), cols - at);
      }
    }
  }
}

// Calls write(first, x') for the normed and rotated head, 16 values at a time.
template <class Write>
CARAT_INLINE void rotate_head(const HeadCall& call, const float* in,
                              const Write& write) {
  const int64_t half = call.head_dim / 2;
  float r = 1.0f;
  if (call.norm != nullptr) r = row_inverse_rms(in, call.head_dim, call.eps);
  const F32x16 factor = broadcast(r);
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t left = half - i;
    F32x16 a = load_first(in + i, left);
    F32x16 b = load_first(in + half + i, left);
    if (call.norm != nullptr) {
      a = (a * factor) * load_first(call.norm + i, left);
      b = (b * factor) * load_first(call.norm + half + i, left);
    }
    const F32x16 c = load_first(call.angles + i, left);
    const F32x16 s = load_first(call.angles + half + i, left);
    write(i, fma(a, c, negate(b * s)), left);
    write(half + i, fma(b, c, a * s), left);
  }
}

void query_head(const HeadCall& call, float* q) {
  rotate_head(call, q, [&](int64_t at, F32x16 x, int64_t left) {
    store_first(q + at, x, left);
  });
}

// As the cache holds it: within f16, NaN as 0.
CARAT_INLINE F32x16 cacheable(F32x16 x) {
  const F32x16 limit = broadcast(65504.0f);
  return max(negate(limit), min(limit, select(is_number(x), x, zero())));
}

void key_head(const HeadCall& call, const float* k, const float* v,
              const KvSlot& slot) {
  rotate_head(call, k, [&](int64_t at, F32x16 x, int64_t left) {
    uint16_t lanes[16];
    store_f16(lanes, cacheable(x));
    uint16_t* column = slot.keys + at * kBlock + slot.index;
    for (int64_t j = 0; j < (left < 16 ? left : 16); ++j) {
      column[j * kBlock] = lanes[j];
    }
  });
  const int64_t stride = (call.head_dim + 15) / 16 * 16;
  uint16_t* row = slot.values + slot.index * stride;
  for (int64_t i = 0; i < call.head_dim; i += 16) {
    store_f16(row + i, cacheable(load_first(v + i, call.head_dim - i)));
  }
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
