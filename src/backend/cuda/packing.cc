#include "backend/cuda/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/float_types.h"
#include "base/require.h"

namespace carat::cuda {
namespace {

int stored_bits(const QuantizedLayout& layout) {
  return layout.bits <= 4 ? 4 : 8;
}

// Codes that do not fit around the centre get a bias.
bool needs_bias(const QuantizedLayout& layout) {
  const int centre = centre_of(stored_bits(layout));
  const int most = (1 << layout.bits) - 1 - layout.zero_point;
  return layout.has_bias || layout.zero_point > centre || most >= centre;
}

// A scale or bias as it is stored.
uint16_t bf16_times(double value, int exponent) {
  if (!std::isfinite(value)) return 0;
  return f32_to_bf16(static_cast<float>(std::ldexp(value, exponent)));
}

// Larger ones leave bf16's range as they are stored.
void check_scale(double scale) {
  if (!(std::isfinite(scale) && std::abs(scale) >= 0x1p26)) return;
  throw Error(ErrorCode::kUnsupported, "cuda: a weight's scale is " +
                                           std::to_string(scale) +
                                           "; expected less than 2^26");
}

// The word of one lane and step: for 4 bits one, for 8 bits two.
struct LaneStep {
  const uint8_t* low;   // row g at the step's first k, null past the end
  const uint8_t* high;  // row g + 8
  int64_t cols_left;    // columns from there to the row's end
  int zero_point;       // of the codes read
  int centre;           // of those stored

  // Zero where there is none.
  uint32_t code(int x, int e, int q) const {
    const uint8_t* row = (x & 1) ? high : low;
    const int at = 2 * q + 8 * (x >> 1) + e;
    const bool is_there = row != nullptr && at < cols_left;
    return static_cast<uint32_t>(centre +
                                 (is_there ? int{row[at]} - zero_point : 0));
  }
};

uint32_t word4(const LaneStep& step, int q) {
  uint32_t word = 0;
  for (int x = 0; x < 4; ++x) {
    for (int e = 0; e < 2; ++e) {
      word |= (step.code(x, e, q) & 15u) << (4 * x + 16 * e);
    }
  }
  return word;
}

uint32_t word8(const LaneStep& step, int q, int half) {
  uint32_t word = 0;
  for (int side = 0; side < 2; ++side) {
    for (int e = 0; e < 2; ++e) {
      word |= (step.code(2 * half + side, e, q) & 255u) << (8 * side + 16 * e);
    }
  }
  return word;
}

void put_word(uint8_t* out, uint32_t word) { std::memcpy(out, &word, 4); }

class TileRow {
 public:
  TileRow(const QuantizedMatrix& rows, const WeightTiles& tiles)
      : rows_(rows),
        tiles_(tiles),
        zero_point_(tiles.has_bias != 0 ? 0 : rows.layout.zero_point),
        centre_(tiles.has_bias != 0 ? 0 : centre_of(tiles.bits)) {}

  void pack_slice(int slice, int64_t k_tile, uint8_t* out) const {
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, q = lane % 4;
      for (int s = 0; s < kStepsPerTile; ++s) {
        const LaneStep step = at(slice * kSliceRows + g, k_tile, s);
        if (tiles_.bits == 4) {
          put_word(out + lane * 16 + s * 4, word4(step, q));
        } else {
          uint8_t* words = out + (s / 2) * 512 + lane * 16 + (s % 2) * 8;
          put_word(words, word8(step, q, 0));
          put_word(words + 4, word8(step, q, 1));
        }
      }
    }
    pack_scales(slice, k_tile, out + 128 * tiles_.bits);
  }

 private:
  LaneStep at(int64_t row, int64_t k_tile, int s) const {
    const int64_t k = k_tile * kTileCols + s * kStepCols;
    const auto codes = [&](int64_t r) -> const uint8_t* {
      if (r >= rows_.rows || k >= rows_.cols) return nullptr;
      return rows_.codes.data() + r * rows_.cols + k;
    };
    return {codes(row), codes(row + 8), rows_.cols - k, zero_point_, centre_};
  }

  void pack_scales(int slice, int64_t k_tile, uint8_t* out) const {
    const int groups = kStepsPerTile / tiles_.steps_per_group;
    const QuantizedLayout& layout = rows_.layout;
    for (int group = 0; group < groups; ++group) {
      const int64_t k = k_tile * kTileCols +
                        int64_t{group} * tiles_.steps_per_group * kStepCols;
      for (int g = 0; g < kGroupWords; ++g) {
        uint32_t scales = 0, biases = 0;
        for (int side = 0; side < 2; ++side) {
          const int64_t row = slice * kSliceRows + g + 8 * side;
          if (row >= rows_.rows || k >= rows_.cols) continue;
          const auto index =
              static_cast<size_t>(row * rows_.groups() + k / layout.group);
          const double scale = rows_.scales[index];
          check_scale(scale);
          const uint16_t stored =
              bf16_times(scale, scale_exponent(tiles_.bits, side));
          scales |= uint32_t{stored} << (16 * side);
          if (tiles_.has_bias == 0) continue;
          double bias = layout.has_bias ? double{rows_.biases[index]}
                                        : -scale * layout.zero_point;
          // What the scale's rounding takes from the middle of the codes.
          bias += 0.5 * ((1 << layout.bits) - 1) *
                  (scale - std::ldexp(bf16_to_f32(stored),
                                      -scale_exponent(tiles_.bits, side)));
          biases |= uint32_t{bf16_times(bias, kWeightExponent)} << (16 * side);
        }
        put_word(out + g * 4, scales);
        if (tiles_.has_bias != 0) {
          put_word(out + (kGroupWords + g) * 4, biases);
        }
      }
      out += 4 * kGroupWords * (tiles_.has_bias != 0 ? 2 : 1);
    }
  }

  const QuantizedMatrix& rows_;
  const WeightTiles& tiles_;
  int zero_point_;
  int centre_;
};

}  // namespace

WeightTiles plan_tiles(int64_t rows, int64_t cols,
                       const QuantizedLayout& layout) {
  constexpr int64_t kMaxSide = int64_t{1} << 30;
  require(rows > 0 && cols > 0 && rows <= kMaxSide && cols <= kMaxSide,
          "pack: a matrix side is out of range");
  require(layout.bits >= 2 && layout.bits <= 8, "pack: bits are not 2 to 8");
  require(layout.group == 16 || layout.group == 32 || layout.group == 64 ||
              layout.group == 128,
          "pack: the group is not 16, 32, 64 or 128");
  require(layout.zero_point >= 0 && layout.zero_point <= 128 &&
              (!layout.has_bias || layout.zero_point == 0),
          "pack: the zero point is out of range");
  WeightTiles tiles;
  tiles.rows = static_cast<int32_t>(rows);
  tiles.k_tiles = static_cast<int32_t>((cols + kTileCols - 1) / kTileCols);
  tiles.bits = stored_bits(layout);
  tiles.steps_per_group = std::min(layout.group / kStepCols, kStepsPerTile);
  tiles.has_bias = needs_bias(layout) ? 1 : 0;
  tiles.slice_bytes = slice_bytes_of(
      tiles.bits, kStepsPerTile / tiles.steps_per_group, tiles.has_bias != 0);
  return tiles;
}

void pack_tile_row(const WeightSource& source, const WeightTiles& tiles,
                   int64_t tile_row, QuantizedMatrix& scratch, uint8_t* out) {
  const int64_t first = tile_row * kTileRows;
  source.read(first, std::min<int64_t>(kTileRows, source.rows() - first),
              scratch);
  const TileRow row(scratch, tiles);
  for (int64_t k_tile = 0; k_tile < tiles.k_tiles; ++k_tile) {
    for (int slice = 0; slice < kSlices; ++slice) {
      row.pack_slice(slice, k_tile, out);
      out += tiles.slice_bytes;
    }
  }
}

}  // namespace carat::cuda
