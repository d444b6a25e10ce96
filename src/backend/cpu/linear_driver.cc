#include "backend/cpu/linear_driver.h"

#include <algorithm>

#include "base/checked.h"

namespace carat::cpu {
namespace {

// Of L2, for the activations of a block of rows; the rest is for a weight tile
// and the outputs.
constexpr int64_t kBlockBytes = 320 << 10;

// Two weights may read the same prepared rows.
bool prepare_alike(const WeightTiles& a, const WeightTiles& b) {
  return a.steps == b.steps && a.has_bias == b.has_bias &&
         a.zero_point == b.zero_point;
}

}  // namespace

int LinearDriver::row_parts(int64_t rows, int64_t tiles) const {
  const int threads = pool_.size();
  const int64_t chunks = ceil_div(rows, kernels_.chunk_rows);
  int best = 1;
  int64_t best_cost = ceil_div(tiles, threads) * chunks;
  for (int parts = 2; parts <= threads; ++parts) {
    if (threads % parts != 0) continue;
    const int64_t cost =
        ceil_div(tiles, threads / parts) * ceil_div(chunks, parts);
    if (cost < best_cost) {
      best = parts;
      best_cost = cost;
    }
  }
  return best;
}

LinearDriver::Share LinearDriver::share_of(int thread, int parts, int64_t rows,
                                           int64_t tiles) const {
  const int tile_parts = pool_.size() / parts;
  const int tile_part = thread % tile_parts;
  const int row_part = thread / tile_parts;
  const int64_t chunk = kernels_.chunk_rows;
  const int64_t chunks = ceil_div(rows, chunk);
  return {
      {tiles * tile_part / tile_parts, tiles * (tile_part + 1) / tile_parts},
      std::min(rows, chunks * row_part / parts * chunk),
      std::min(rows, chunks * (row_part + 1) / parts * chunk)};
}

// Whole chunks, in blocks of about the same size.
int64_t LinearDriver::block_rows(int64_t rows, const QuantizedRows& in) const {
  const int64_t chunk = kernels_.chunk_rows;
  const int64_t row_bytes = in.groups * (kGroup + 2 * 4);
  const int64_t most = std::max<int64_t>(1, kBlockBytes / row_bytes / chunk);
  const int64_t chunks = ceil_div(std::max<int64_t>(rows, 1), chunk);
  const int64_t blocks = ceil_div(chunks, most);
  return ceil_div(chunks, blocks) * chunk;
}

int64_t LinearDriver::prepared_words(int64_t rows,
                                     const QuantizedRows& in) const {
  constexpr int64_t kMostWords = 3;  // a scale and two starts
  return round_up(rows, kernels_.chunk_rows) * in.groups * kMostWords;
}

void LinearDriver::run(const QuantizedRows& in, int64_t rows,
                       std::span<const LinearPiece> pieces) {
  int64_t tiles = 0;
  for (const LinearPiece& piece : pieces) tiles += piece.tiles;
  const int parts = row_parts(rows, tiles);
  const int64_t block = block_rows(rows, in);
  scratch_.fit(static_cast<size_t>(prepared_words(block, in)) * 4);
  pool_.run([&](int thread) {
    const Share share = share_of(thread, parts, rows, tiles);
    int32_t* prepared = scratch_.at<int32_t>(thread);
    for (int64_t row = share.first_row; row < share.end_row; row += block) {
      const int64_t count = std::min(block, share.end_row - row);
      const WeightTiles* prepared_for = nullptr;
      int64_t first_tile = 0;
      for (const LinearPiece& piece : pieces) {
        const Tiles part = {
            std::max<int64_t>(0, share.tiles.begin - first_tile),
            std::min(piece.tiles, share.tiles.end - first_tile)};
        first_tile += piece.tiles;
        if (part.begin >= part.end) continue;
        const WeightTiles& weight = *piece.weight;
        if (!prepared_for || !prepare_alike(*prepared_for, weight)) {
          kernels_.prepare(weight, in, row, count, prepared);
          prepared_for = &weight;
        }
        OutputRows out = piece.out;
        out.data += row * out.stride;
        kernels_.linear(
            weight, {in.codes + row * in.stride, in.stride, prepared, count},
            part, out);
      }
    }
  });
}

void LinearDriver::run_gated(const QuantizedRows& in, int64_t rows,
                             const WeightTiles& gate, const WeightTiles& up,
                             int64_t tiles, bool is_silu,
                             const QuantizedRows& out) {
  const int parts = row_parts(rows, tiles);
  const int64_t block = block_rows(rows, in);
  const int64_t words = prepared_words(block, in);
  scratch_.fit(static_cast<size_t>(words) * 2 * 4);
  pool_.run([&](int thread) {
    const Share share = share_of(thread, parts, rows, tiles);
    if (share.tiles.begin >= share.tiles.end) return;
    int32_t* for_gate = scratch_.at<int32_t>(thread);
    int32_t* for_up = prepare_alike(gate, up) ? for_gate : for_gate + words;
    for (int64_t row = share.first_row; row < share.end_row; row += block) {
      const int64_t count = std::min(block, share.end_row - row);
      const int8_t* codes = in.codes + row * in.stride;
      kernels_.prepare(gate, in, row, count, for_gate);
      if (for_up != for_gate) kernels_.prepare(up, in, row, count, for_up);
      kernels_.gated(gate, {codes, in.stride, for_gate, count}, up,
                     {codes, in.stride, for_up, count}, share.tiles, is_silu,
                     row, out);
    }
  });
}

}  // namespace carat::cpu
