#include "backend/cuda/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/float_types.h"
#include "base/require.h"

namespace carat::cuda {
namespace {

// What is subtracted from codes: the zero point, or the middle of the codes
// where a bias takes up the rest, so that bf16 biases stay small.
int centre_of(const QuantizedLayout& layout) {
  const int least = layout.bits <= 4 ? -kCentre4 : -128;
  const int most = -least - 1;
  const bool fits = -layout.zero_point >= least &&
                    (1 << layout.bits) - 1 - layout.zero_point <= most;
  if (!layout.has_bias && fits) return layout.zero_point;
  return 1 << (layout.bits - 1);
}

bool needs_bias(const QuantizedLayout& layout) {
  return layout.has_bias || centre_of(layout) != layout.zero_point;
}

uint16_t finite_bf16(double value) {
  const auto rounded = static_cast<float>(value);
  return std::isfinite(rounded) ? f32_to_bf16(rounded) : uint16_t{0};
}

// The word of one lane and step: for 4 bits one, for 8 bits two.
struct LaneStep {
  const uint8_t* low;   // row g at the step's first k, null past the end
  const uint8_t* high;  // row g + 8
  int64_t cols_left;    // columns from there to the row's end
  int centre;

  // Less the centre; zero where there is none.
  int code(int x, int e, int q) const {
    const uint8_t* row = (x & 1) ? high : low;
    const int at = 2 * q + 8 * (x >> 1) + e;
    return row == nullptr || at >= cols_left ? 0 : int{row[at]} - centre;
  }
};

uint32_t word4(const LaneStep& step, int q) {
  uint32_t word = 0;
  for (int x = 0; x < 4; ++x) {
    for (int e = 0; e < 2; ++e) {
      const auto code = static_cast<uint32_t>(step.code(x, e, q) + kCentre4);
      word |= (code & 15u) << (4 * x + 16 * e);
    }
  }
  return word;
}

uint32_t word8(const LaneStep& step, int q, int half) {
  uint32_t word = 0;
  for (int side = 0; side < 2; ++side) {
    for (int e = 0; e < 2; ++e) {
      const auto code = static_cast<uint32_t>(step.code(2 * half + side, e, q));
      word |= (code & 0xffu) << (8 * side + 16 * e);
    }
  }
  return word;
}

void put_word(uint8_t* out, uint32_t word) { std::memcpy(out, &word, 4); }

class TileRow {
 public:
  TileRow(const QuantizedMatrix& rows, const WeightTiles& tiles)
      : rows_(rows), tiles_(tiles), centre_(centre_of(rows.layout)) {}

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
    return {codes(row), codes(row + 8), rows_.cols - k, centre_};
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
          const double bias =
              scale * (centre_ - layout.zero_point) +
              (layout.has_bias ? double{rows_.biases[index]} : 0.0);
          scales |= uint32_t{finite_bf16(scale)} << (16 * side);
          biases |= uint32_t{finite_bf16(bias)} << (16 * side);
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
  tiles.bits = layout.bits <= 4 ? 4 : 8;
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
