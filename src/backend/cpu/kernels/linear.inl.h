// y[m,n] = sum over groups of scale_x[m,g] * scale_w[n,g] * (code_w . code_x).
//
// A register tile of kChunkRows rows x 16 * kHalves outputs: a group's codes
// are multiplied into int32 sums (exact, so their order is free), which then
// enter one float chain per output, in ascending order of groups. Weights of a
// tile stream from L2 for every chunk of rows; a decode step reads each weight
// once, at the speed of memory.
//
// Of the 512-bit multiplier's slots a group takes 8 for dots and 2 for the
// float chain per row and half, so 80% of the dots' peak is the limit on Zen 4;
// 71% on Intel, whose conversion of the sums takes one more of the same ports.
// Measured on one Zen 4 core, November 2026, peak 236 GMAC/s: 4-bit and 8-bit
// codes 180-185, two steps a group 153, biases 168; AVX2 128, 97 and 67 with
// codes of 4, up to 7 and 8 bits. Emerald Rapids: codes.inl.h.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// Words of one group of a chunk that `prepare` writes.
CARAT_INLINE int64_t prepared_words(const WeightTiles& w) {
  return (1 + w.steps) * kChunkRows;
}

// Without biases the starts are -zero_point * sum of codes, else the float
// scale * sum of codes that multiplies the bias.
void prepare(const WeightTiles& w, const QuantizedRows& in, int64_t first_row,
             int64_t rows, int32_t* prepared) {
  const int64_t words = prepared_words(w);
  for (int64_t chunk = 0; chunk < rows; chunk += kChunkRows) {
    for (int i = 0; i < kChunkRows && chunk + i < rows; ++i) {
      const int64_t row = first_row + chunk + i;
      const float* scales = in.scales + row * in.groups;
      const int32_t* sums = in.sums + row * in.groups * 2;
      int32_t* p = prepared + chunk / kChunkRows * in.groups * words + i;
      for (int64_t g = 0; g < in.groups; ++g, p += words) {
        __builtin_memcpy(p, &scales[g], 4);
        for (int step = 0; step < w.steps; ++step) {
          const int32_t sum =
              w.steps == 2 ? sums[2 * g + step] : sums[2 * g] + sums[2 * g + 1];
          int32_t start = -w.zero_point * sum;
          if (w.has_bias) {
            const float product = scales[g] * static_cast<float>(sum);
            __builtin_memcpy(&start, &product, 4);
          }
          p[(1 + step) * kChunkRows] = start;
        }
      }
    }
  }
}

CARAT_INLINE F32x16 broadcast_word(const int32_t* p) {
  float x;
  __builtin_memcpy(&x, p, 4);
  return broadcast(x);
}

// How many bits wide the multiplications of codes are.
constexpr int dot_bits(int code_bits) {
  return code_bits == 5 || code_bits == 6 ? 7 : code_bits;
}

template <int kCodeBits, int kRows>
CARAT_INLINE void add_quad(
    const Codes (&codes)[kHalves], const int8_t* x, int64_t stride,
    DotSum<dot_bits(kCodeBits)> (&sums)[kRows][kHalves]) {
  CARAT_UNROLL
  for (int i = 0; i < kRows; ++i) {
    const Quad four = load_quad<dot_bits(kCodeBits)>(x + i * stride);
    CARAT_UNROLL
    for (int h = 0; h < kHalves; ++h) add_dot(sums[i][h], codes[h], four);
  }
}

// The quads [kQuad, kEndQuad) of a group for all rows.
template <int kCodeBits, int kRows, int kQuad, int kEndQuad>
CARAT_INLINE void add_quads(
    const uint8_t* codes, const int8_t* x, int64_t stride,
    DotSum<dot_bits(kCodeBits)> (&sums)[kRows][kHalves]) {
  constexpr int kQuadsPerLoad = kCodeBits < 7 ? 2 : 1;
  Codes first[kHalves], second[kHalves];
  CARAT_UNROLL
  for (int h = 0; h < kHalves; ++h) {
    const uint8_t* half = codes + h * 64;
    if constexpr (kQuadsPerLoad == 2) {
      load_quads<kCodeBits, kQuad>(half, first[h], second[h]);
    } else {
      first[h] = load_codes(half + kQuad * 128);
    }
  }
  add_quad<kCodeBits>(first, x + kQuad * 4, stride, sums);
  if constexpr (kQuadsPerLoad == 2) {
    add_quad<kCodeBits>(second, x + kQuad * 4 + 4, stride, sums);
  }
  if constexpr (kQuad + kQuadsPerLoad < kEndQuad) {
    add_quads<kCodeBits, kRows, kQuad + kQuadsPerLoad, kEndQuad>(codes, x,
                                                                 stride, sums);
  }
}

// Where the scales of a group lie, from an output on.
struct GroupScales {
  const uint8_t* halves;
  const uint8_t* integers;  ///< with super-blocks
};

// The scales of 16 outputs from `output` on, for one step.
template <class Scales>
CARAT_INLINE F32x16 step_scale(const GroupScales& at, int step, int output) {
  const F32x16 halves =
      load_f16(reinterpret_cast<const uint16_t*>(at.halves) + output);
  if constexpr (!Scales::kSuper) return halves;
  return to_float(load_i8(at.integers + step * kTile + output)) * halves;
}

template <class Scales>
CARAT_INLINE F32x16 step_bias(const GroupScales& at, int step, int output) {
  if constexpr (!Scales::kBias) return zero();
  return step_scale<Scales>(
      {at.halves + kTile * 2, at.integers + Scales::kSteps * kTile}, step,
      output);
}

// One step of a group: its integer sums, then one link of each float chain.
template <int kCodeBits, class Scales, int kRows, int kStep>
CARAT_INLINE void add_step(const uint8_t* codes, const GroupScales& scales,
                           const int8_t* x, int64_t stride,
                           const int32_t* prepared,
                           F32x16 (&acc)[kRows][kHalves]) {
  constexpr bool kBias = Scales::kBias;
  constexpr int kQuads = 8 / Scales::kSteps;
  const int32_t* starts = prepared + (1 + kStep) * kChunkRows;
  DotSum<dot_bits(kCodeBits)> sums[kRows][kHalves];
  CARAT_UNROLL
  for (int i = 0; i < kRows; ++i) {
    CARAT_UNROLL
    for (int h = 0; h < kHalves; ++h) {
      begin_dot(sums[i][h], kBias ? nullptr : starts + i);
    }
  }
  add_quads<kCodeBits, kRows, kStep * kQuads, (kStep + 1) * kQuads>(
      codes, x, stride, sums);
  CARAT_UNROLL
  for (int h = 0; h < kHalves; ++h) {
    const F32x16 scale = step_scale<Scales>(scales, kStep, h * 16);
    const F32x16 bias = step_bias<Scales>(scales, kStep, h * 16);
    CARAT_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const F32x16 row_scale = broadcast_word(prepared + i);
      const I32x16 sum = end_dot(sums[i][h], kBias ? nullptr : starts + i);
      acc[i][h] = fma(to_float(sum), row_scale * scale, acc[i][h]);
      if constexpr (kBias) {
        acc[i][h] = fma(bias, broadcast_word(starts + i), acc[i][h]);
      }
    }
  }
}

// What a kernel asks for while it works: `bytes` from `next` on with every
// group; null: nothing.
struct Ahead {
  const uint8_t* next;
  int64_t bytes;
};

// The sums of kRows rows x kHalves halves of a tile, from `half` on.
template <int kCodeBits, class Scales, int kRows>
CARAT_INLINE void linear_halves(const WeightTiles& w, const uint8_t* tile,
                                const int8_t* x, int64_t stride,
                                const int32_t* prepared, int half, Ahead ahead,
                                F32x16 (&acc)[kRows][kHalves]) {
  constexpr int64_t kCodeBytes = code_bytes(kCodeBits);
  GroupScales scales = {};
  const int32_t record_groups = Scales::kSuper ? kSuperGroups : w.shared;
  int32_t record_left = 0;
  CARAT_UNROLL
  for (int i = 0; i < kRows; ++i) {
    CARAT_UNROLL
    for (int h = 0; h < kHalves; ++h) acc[i][h] = zero();
  }
  for (int64_t g = 0; g < w.groups; ++g) {
    if (record_left == 0) {
      scales.halves = tile + half * 16 * 2;
      tile += Scales::kRecordBytes * kTile;
      record_left = record_groups;
    }
    --record_left;
    scales.integers = tile + half * 16;
    tile += Scales::kGroupBytes * kTile;
    if (ahead.next != nullptr) {
      int64_t at = 0;
      do {  // every line once: the next group goes on in the line after these
        __builtin_prefetch(ahead.next + at, 0, 2);
        at += 64;
      } while (at + 64 <= ahead.bytes);
      ahead.next += ahead.bytes;
    }
    const uint8_t* codes = tile + half * 64;
    add_step<kCodeBits, Scales, kRows, 0>(codes, scales, x, stride, prepared,
                                          acc);
    if constexpr (Scales::kSteps == 2) {
      add_step<kCodeBits, Scales, kRows, 1>(codes, scales, x, stride, prepared,
                                            acc);
    }
    tile += kCodeBytes;
    x += kGroup;
    prepared += (1 + Scales::kSteps) * kChunkRows;
  }
}

// One tile for one chunk of rows; writes 32 floats of each row.
using ChunkKernel = void (*)(const WeightTiles& w, int64_t tile,
                             const int8_t* x, int64_t stride,
                             const int32_t* prepared, Ahead ahead, float* out,
                             int64_t out_stride);

template <int kCodeBits, class Scales, int kRows>
void linear_chunk(const WeightTiles& w, int64_t tile, const int8_t* x,
                  int64_t stride, const int32_t* prepared, Ahead ahead,
                  float* out, int64_t out_stride) {
  const uint8_t* data = w.tiles + tile * w.tile_bytes;
  for (int half = 0; half < 2; half += kHalves) {
    F32x16 acc[kRows][kHalves];
    linear_halves<kCodeBits, Scales, kRows>(w, data, x, stride, prepared, half,
                                            ahead, acc);
    for (int h = 0; h < kHalves; ++h) {
      const int64_t at = (half + h) * 16;
      const F32x16 factor = load(w.factors + tile * kTile + at);
      for (int i = 0; i < kRows; ++i) {
        store(out + i * out_stride + at, acc[i][h] * factor);
      }
    }
  }
}

// By the number of rows less one.
struct ChunkKernels {
  ChunkKernel by_rows[kChunkRows];
};

template <int kCodeBits, class Scales, int kRows = kChunkRows>
void fill_kernels(ChunkKernels& kernels) {
  kernels.by_rows[kRows - 1] = linear_chunk<kCodeBits, Scales, kRows>;
  if constexpr (kRows > 1) fill_kernels<kCodeBits, Scales, kRows - 1>(kernels);
}

template <int kCodeBits>
ChunkKernels kernels_of_bits(const WeightTiles& w) {
  constexpr bool kCanBeSuper =
      kCodeBits < 7 || (kCodeBits == 7 && kUnpacksTiles);
  return with_scaling<kCanBeSuper>(w, [](auto scales) {
    ChunkKernels kernels;
    fill_kernels<kCodeBits, decltype(scales)>(kernels);
    return kernels;
  });
}

ChunkKernels kernels_for(const WeightTiles& w) {
  switch (w.code_bits) {
    case 4:
      return kernels_of_bits<4>(w);
    case 5:
      return kernels_of_bits<5>(w);
    case 6:
      return kernels_of_bits<6>(w);
    case 7:
      return kernels_of_bits<7>(w);
    default:
      return kernels_of_bits<8>(w);
  }
}

// Where the tiles of a matrix are read: in place, or one at a time out of
// `room`, which then holds its codes in bytes.
class TileReader {
 public:
  TileReader(const WeightTiles& w, const LinearRows& rows)
      : source_(w), read_(w), ahead_bytes_(rows.ahead_bytes) {
    if (rows.room == nullptr || w.code_bits >= 7) return;
    chunks_ = (rows.rows + kChunkRows - 1) / kChunkRows;
    unpack_ = unpack_of(w);
    room_ = rows.room;
    read_.code_bits = 7;
    read_.tiles = room_;
    read_.tile_bytes = 0;
  }
  ChunkKernels kernels() const { return kernels_for(read_); }
  const WeightTiles& at(int64_t tile) {
    if (unpack_ != nullptr) unpack_(source_, tile, room_);
    return read_;
  }
  // In place the first chunk asks for the weights that it will come to;
  // otherwise every chunk for its share of the next tile.
  Ahead ahead(int64_t tile, int64_t chunk) const {
    if (ahead_bytes_ == 0 || (unpack_ == nullptr && chunk > 0)) return {};
    const uint8_t* from = source_.tiles + tile * source_.tile_bytes;
    if (unpack_ == nullptr) {
      return {from + ahead_bytes_, source_.tile_bytes / source_.groups};
    }
    const int64_t share = source_.tile_bytes / chunks_;
    return {from + source_.tile_bytes + chunk * share,
            share / source_.groups + 1};
  }

 private:
  const WeightTiles& source_;
  WeightTiles read_;
  int64_t ahead_bytes_;
  int64_t chunks_ = 0;
  UnpackTile unpack_ = nullptr;
  uint8_t* room_ = nullptr;
};

void linear(const WeightTiles& w, const LinearRows& rows, Tiles tiles,
            const OutputRows& out) {
  TileReader reader(w, rows);
  const ChunkKernels kernels = reader.kernels();
  const int64_t words = w.groups * prepared_words(w) / kChunkRows;
  for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
    const WeightTiles& read = reader.at(tile);
    const int64_t col = tile * kTile;
    const int64_t cols = out.cols - col;
    for (int64_t row = 0; row < rows.rows; row += kChunkRows) {
      const int64_t left = rows.rows - row;
      const int64_t count = left < kChunkRows ? left : kChunkRows;
      const ChunkKernel kernel = kernels.by_rows[count - 1];
      const int8_t* x = rows.codes + row * rows.stride;
      const int32_t* prepared = rows.prepared + row * words;
      const Ahead ahead = reader.ahead(tile, row / kChunkRows);
      float* y = out.data + row * out.stride + col;
      if (cols >= kTile) {
        kernel(read, tile, x, rows.stride, prepared, ahead, y, out.stride);
        continue;
      }
      alignas(64) float whole[kChunkRows * kTile];
      kernel(read, tile, x, rows.stride, prepared, ahead, whole, kTile);
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t at = 0; at < cols; at += 16) {
          store_first(y + i * out.stride + at, load(whole + i * kTile + at),
                      cols - at);
        }
      }
    }
  }
}

void gated(const WeightTiles& gate, const LinearRows& gate_rows,
           const WeightTiles& up, const LinearRows& up_rows, Tiles tiles,
           bool is_silu, int64_t first_row, const QuantizedRows& out) {
  TileReader gate_reader(gate, gate_rows);
  TileReader up_reader(up, up_rows);
  const ChunkKernels gate_kernels = gate_reader.kernels();
  const ChunkKernels up_kernels = up_reader.kernels();
  const int64_t gate_words = gate.groups * prepared_words(gate) / kChunkRows;
  const int64_t up_words = up.groups * prepared_words(up) / kChunkRows;
  for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
    const WeightTiles& read_gate = gate_reader.at(tile);
    const WeightTiles& read_up = up_reader.at(tile);
    for (int64_t row = 0; row < gate_rows.rows; row += kChunkRows) {
      const int64_t left = gate_rows.rows - row;
      const int64_t count = left < kChunkRows ? left : kChunkRows;
      const int8_t* x = gate_rows.codes + row * gate_rows.stride;
      alignas(64) float gates[kChunkRows * kTile];
      alignas(64) float ups[kChunkRows * kTile];
      gate_kernels.by_rows[count - 1](read_gate, tile, x, gate_rows.stride,
                                      gate_rows.prepared + row * gate_words,
                                      gate_reader.ahead(tile, row / kChunkRows),
                                      gates, kTile);
      up_kernels.by_rows[count - 1](
          read_up, tile, x, up_rows.stride, up_rows.prepared + row * up_words,
          up_reader.ahead(tile, row / kChunkRows), ups, kTile);
      for (int64_t i = 0; i < count; ++i) {
        const auto product = [&](int64_t at) {
          const F32x16 g = load(gates + i * kTile + at);
          return (is_silu ? silu(g) : gelu_tanh(g)) *
                 load(ups + i * kTile + at);
        };
        quantize_group(product(0), product(16), out, first_row + row + i, tile);
      }
    }
  }
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
