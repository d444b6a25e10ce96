#include "backend/cpu/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/checked.h"
#include "base/float_types.h"
#include "base/require.h"

namespace carat::cpu {
namespace {

// Past the end of the last tile, for kernels that read or ask ahead.
constexpr int64_t kSlackBytes = 8192;

// Of the f16 scales and biases that begin a record, one each an output.
int64_t halves_bytes(const WeightTiles& w) {
  return kTile * 2 * (w.has_bias ? 2 : 1);
}

// Of the int8 scales and biases of a group of a super-block.
int64_t integers_bytes(const WeightTiles& w) {
  return w.has_super_blocks ? w.steps * kTile * (w.has_bias ? 2 : 1) : 0;
}

// Groups of 32 inputs in a record.
int64_t record_groups(const WeightTiles& w) {
  return w.has_super_blocks ? kSuperGroups : w.shared;
}

int64_t code_bytes(const WeightTiles& w) {
  return kGroup * kTile * (w.code_bits < 7 ? w.code_bits : 8) / 8;
}

WeightTiles describe(int64_t rows, int64_t cols,
                     const QuantizedLayout& layout) {
  const int group = layout.group;
  require(rows > 0 && cols > 0, "pack: the matrix is empty");
  require(layout.bits >= 1 && layout.bits <= 8, "pack: bits not in 1..8");
  require(group == 16 || group == 32 || group == 64 || group == 128,
          "pack: group is not 16, 32, 64 or 128");
  require(layout.zero_point >= 0 && layout.zero_point <= 128,
          "pack: zero point not in 0..128");
  require(!layout.has_bias || layout.zero_point == 0,
          "pack: both biases and a zero point");
  require(layout.super_block == 0 || layout.super_block == 256,
          "pack: super-block is not 256");
  require(layout.super_block == 0 || (group <= kGroup && layout.bits <= 6),
          "pack: super-blocks need groups of at most 32 and 6 bits");
  require(layout.super_block == 256 || group >= kGroup,
          "pack: groups of 16 need super-blocks");
  WeightTiles w = {};
  w.groups = ceil_div(cols, kGroup);
  w.code_bits = std::max(layout.bits, 4);
  w.steps = group == 16 ? 2 : 1;
  w.shared = group > kGroup ? group / kGroup : 1;
  w.zero_point = layout.zero_point;
  w.has_bias = layout.has_bias;
  w.has_super_blocks = layout.super_block > 0;
  w.tile_bytes = ceil_div(w.groups, record_groups(w)) * halves_bytes(w) +
                 w.groups * (integers_bytes(w) + code_bytes(w));
  return w;
}

uint64_t tile_memory_bytes(const WeightTiles& w, int64_t tiles) {
  const char* what = "packed weights";
  return checked_add(checked_mul(static_cast<uint64_t>(tiles),
                                 static_cast<uint64_t>(w.tile_bytes), what),
                     kSlackBytes, what);
}

uint64_t factor_bytes(int64_t tiles) {
  return static_cast<uint64_t>(tiles) * kTile * sizeof(float);
}

float finite(float x) { return std::isfinite(x) ? x : 0.0f; }

// The power of two that brings the largest scale or bias of a row into
// [2^14, 2^15), so that f16 holds whatever range a model has.
float row_factor(const float* scales, const float* biases, int64_t groups) {
  float largest = 0;
  for (int64_t g = 0; g < groups; ++g) {
    largest = std::max(largest, std::fabs(finite(scales[g])));
    if (biases) largest = std::max(largest, std::fabs(finite(biases[g])));
  }
  if (largest == 0) return 1;
  int exponent;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0f, std::clamp(exponent - 15, -126, 113));
}

// Some rows of the source, read into the transient form.
struct Rows {
  const QuantizedMatrix& matrix;
  int64_t count;
};

// Column `index` of the scales (or biases) [rows, width] of one record: [32]
// f16. Returns the end.
uint8_t* pack_halves(const std::vector<float>& values, int64_t width,
                     int64_t index, const Rows& rows, const float* inverses,
                     uint8_t* out) {
  uint16_t halves[kTile] = {};
  for (int64_t n = 0; n < rows.count; ++n) {
    halves[n] = f32_to_f16(finite(values[n * width + index]) * inverses[n]);
  }
  std::memcpy(out, halves, sizeof(halves));
  return out + sizeof(halves);
}

// The integer scales (or biases) of a group of 32: [steps][32] int8. Returns
// the end.
uint8_t* pack_integers(const std::vector<int8_t>& values, int64_t first_group,
                       int steps, const Rows& rows, uint8_t* out) {
  const int64_t groups = rows.matrix.groups();
  for (int step = 0; step < steps; ++step) {
    int8_t integers[kTile] = {};
    for (int64_t n = 0; first_group + step < groups && n < rows.count; ++n) {
      integers[n] = values[n * groups + first_group + step];
    }
    std::memcpy(out, integers, sizeof(integers));
    out += sizeof(integers);
  }
  return out;
}

// The codes of 32 inputs from `first` on; beyond the matrix they are 0, where
// activations or scales are 0 too.
void pack_codes(const Rows& rows, int64_t first, int code_bits, uint8_t* out) {
  const int64_t cols = rows.matrix.cols;
  const int64_t left = std::min<int64_t>(kGroup, cols - first);
  uint32_t quads[8][kTile] = {};
  for (int64_t n = 0; n < rows.count; ++n) {
    uint8_t codes[kGroup] = {};
    std::memcpy(codes, rows.matrix.codes.data() + n * cols + first,
                static_cast<size_t>(left));
    for (int quad = 0; quad < 8; ++quad) {
      std::memcpy(&quads[quad][n], codes + 4 * quad, 4);
    }
  }
  if (code_bits >= 7) {
    std::memcpy(out, quads, sizeof(quads));
    return;
  }
  constexpr uint32_t kNibbles = 0x0f0f0f0fu;
  constexpr uint32_t kOnes = 0x01010101u;
  constexpr size_t kVectorBytes = sizeof(quads[0]);
  const int high_bits = code_bits - 4;
  uint32_t vector[kTile];
  for (int pair = 0; pair < 4; ++pair) {
    for (int n = 0; n < kTile; ++n) {
      vector[n] = (quads[2 * pair][n] & kNibbles) |
                  (quads[2 * pair + 1][n] & kNibbles) << 4;
    }
    std::memcpy(out + (high_bits + pair) * kVectorBytes, vector, kVectorBytes);
  }
  const uint32_t high_mask = kOnes * ((1u << high_bits) - 1);
  const int plane_quads = high_bits > 0 ? 8 / high_bits : 0;
  for (int plane = 0; plane < high_bits; ++plane) {
    for (int n = 0; n < kTile; ++n) {
      vector[n] = 0;
      for (int i = 0; i < plane_quads; ++i) {
        const uint32_t quad = quads[plane * plane_quads + i][n];
        vector[n] |= (quad >> 4 & high_mask) << (i * high_bits);
      }
    }
    std::memcpy(out + plane * kVectorBytes, vector, kVectorBytes);
  }
}

void pack_tile(const Rows& rows, const WeightTiles& w, float* factors,
               uint8_t* out) {
  const QuantizedMatrix& m = rows.matrix;
  const int64_t groups = m.groups();
  float inverses[kTile];
  for (int64_t n = 0; n < rows.count; ++n) {
    const float* biases = w.has_bias ? &m.biases[n * groups] : nullptr;
    // A super-block's scale is an f16 in every format that has them.
    factors[n] = w.has_super_blocks
                     ? 1.0f
                     : row_factor(&m.scales[n * groups], biases, groups);
    inverses[n] = 1 / factors[n];  // exact: a power of two
  }
  const std::vector<float>& scales =
      w.has_super_blocks ? m.super_scales : m.scales;
  const std::vector<float>& biases =
      w.has_super_blocks ? m.super_biases : m.biases;
  const int64_t width = w.has_super_blocks ? m.super_blocks() : groups;
  for (int64_t g = 0; g < w.groups; ++g) {
    if (g % record_groups(w) == 0) {
      const int64_t record = g / record_groups(w);
      out = pack_halves(scales, width, record, rows, inverses, out);
      if (w.has_bias) {
        out = pack_halves(biases, width, record, rows, inverses, out);
      }
    }
    if (w.has_super_blocks) {
      const int64_t first = g * w.steps;
      out = pack_integers(m.scale_codes, first, w.steps, rows, out);
      if (w.has_bias) {
        out = pack_integers(m.bias_codes, first, w.steps, rows, out);
      }
    }
    pack_codes(rows, g * kGroup, w.code_bits, out);
    out += code_bytes(w);
  }
}

}  // namespace

CpuMatrix::CpuMatrix(const WeightSource& source, ThreadPool& pool,
                     WeightMemory& memory)
    : PackedMatrix(source.rows(), source.cols()),
      bytes_(bytes_of(source.rows(), source.cols(), source.layout())),
      tiles_(describe(source.rows(), source.cols(), source.layout())) {
  const int64_t count = tile_count();
  piece_ = memory.take(static_cast<size_t>(bytes_));
  auto* factors = reinterpret_cast<float*>(piece_.data);
  uint8_t* tiles = piece_.data + factor_bytes(count);
  pool.for_range(count, [&](int64_t begin, int64_t end) {
    QuantizedMatrix matrix;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kTile;
      const int64_t rows = std::min<int64_t>(kTile, source.rows() - first);
      source.read(first, rows, matrix);
      pack_tile({matrix, rows}, tiles_, factors + first,
                tiles + tile * tiles_.tile_bytes);
    }
  });
  tiles_.tiles = tiles;
  tiles_.factors = factors;
}

int64_t CpuMatrix::bytes_of(int64_t rows, int64_t cols,
                            const QuantizedLayout& layout) {
  const int64_t tiles = ceil_div(rows, kTile);
  return static_cast<int64_t>(
      tile_memory_bytes(describe(rows, cols, layout), tiles) +
      factor_bytes(tiles));
}

}  // namespace carat::cpu
