#include "backend/cpu/linear_driver.h"

#include <algorithm>

#include "base/checked.h"

namespace carat::cpu {
namespace {

// Items for each thread, at least: what the slowest has left is at most one.
constexpr int64_t kItemsPerThread = 8;

// How far ahead the first rows of a block ask for weights.
constexpr int64_t kPrefillAheadBytes = 4096;

// Two weights may read the same prepared rows.
bool prepare_alike(const WeightTiles& a, const WeightTiles& b) {
  return a.steps == b.steps && a.has_bias == b.has_bias &&
         a.zero_point == b.zero_point;
}

// Remembers what a thread's scratch holds.
struct Prepared {
  const WeightTiles* weight = nullptr;
  int64_t row = -1;

  bool serves(const WeightTiles& w, int64_t first_row) const {
    return weight != nullptr && row == first_row && prepare_alike(*weight, w);
  }
};

}  // namespace

LinearDriver::Plan LinearDriver::plan(const QuantizedRows& in, int64_t rows,
                                      int64_t tiles) const {
  const int64_t chunk = kernels_.chunk_rows;
  const int64_t chunks = ceil_div(std::max<int64_t>(rows, 1), chunk);
  const int64_t row_bytes = in.groups * (kGroup + 2 * 4);
  const int64_t wanted = pool_.size() == 1 ? 1 : pool_.size() * kItemsPerThread;
  // Blocks of whole chunks, about equal; small ones where tiles are few.
  int64_t blocks = ceil_div(
      chunks, std::max<int64_t>(1, tuning_.block_bytes / row_bytes / chunk));
  blocks = std::clamp(ceil_div(wanted, tiles), blocks, chunks);
  Plan p;
  p.rows = rows;
  p.block_rows = ceil_div(chunks, blocks) * chunk;
  p.tiles = tiles;
  blocks = ceil_div(rows, p.block_rows);
  p.run_tiles = std::max<int64_t>(1, tiles * blocks / wanted);
  p.run_tiles = std::min(p.run_tiles, tiles);
  p.runs = ceil_div(tiles, p.run_tiles);
  p.items = blocks * p.runs;
  return p;
}

int64_t LinearDriver::prepared_words(const Plan& plan,
                                     const QuantizedRows& in) const {
  constexpr int64_t kMostWords = 3;  // a scale and two starts
  return round_up(plan.block_rows * in.groups * kMostWords, 16);
}

int64_t LinearDriver::room_for(const WeightTiles& w, const Plan& plan) const {
  const bool unpacks = kernels_.unpacks_tiles && tuning_.unpacks_tiles;
  const bool are_bytes = w.code_bits >= 7;  // already
  if (!unpacks || are_bytes || plan.rows <= kernels_.chunk_rows) return 0;
  return round_up(unpacked_tile_bytes(w), 64);
}

template <class Body>
void LinearDriver::for_items(const Plan& plan, const Body& body) {
  const int threads = pool_.size();
  for (int i = 0; i < threads; ++i) {
    shares_[i].next.store(plan.items * i / threads, std::memory_order_relaxed);
  }
  pool_.run([&](int thread) {
    Prepared prepared;
    for (int i = 0; i < threads; ++i) {
      const int owner = (thread + i) % threads;
      const int64_t end = plan.items * (owner + 1) / threads;
      std::atomic<int64_t>& next = shares_[owner].next;
      while (true) {
        const int64_t item = next.fetch_add(1, std::memory_order_relaxed);
        if (item >= end) break;
        const int64_t row = item / plan.runs * plan.block_rows;
        const int64_t tile = item % plan.runs * plan.run_tiles;
        body(thread, row, std::min(plan.block_rows, plan.rows - row),
             Tiles{tile, std::min(tile + plan.run_tiles, plan.tiles)},
             &prepared);
      }
    }
  });
}

LinearRows LinearDriver::rows_of(const QuantizedRows& in, int64_t first,
                                 int64_t rows, const int32_t* prepared,
                                 uint8_t* room) const {
  const bool is_chunk = rows <= kernels_.chunk_rows;
  return {in.codes + first * in.stride,
          in.stride,
          prepared,
          rows,
          is_chunk ? tuning_.decode_ahead_bytes : kPrefillAheadBytes,
          is_chunk ? nullptr : room};
}

void LinearDriver::run(const QuantizedRows& in, int64_t rows,
                       std::span<const LinearPiece> pieces) {
  int64_t tiles = 0;
  for (const LinearPiece& piece : pieces) tiles += piece.tiles;
  if (tiles == 0) return;
  const Plan p = plan(in, rows, tiles);
  const int64_t prepared_bytes = prepared_words(p, in) * 4;
  int64_t room_bytes = 0;
  for (const LinearPiece& piece : pieces) {
    room_bytes = std::max(room_bytes, room_for(*piece.weight, p));
  }
  scratch_.fit(static_cast<size_t>(prepared_bytes + room_bytes));
  for_items(p, [&](int thread, int64_t row, int64_t count, Tiles item,
                   Prepared* prepared) {
    int32_t* words = scratch_.at<int32_t>(thread);
    uint8_t* room = room_bytes == 0
                        ? nullptr
                        : scratch_.at<uint8_t>(thread) + prepared_bytes;
    int64_t first_tile = 0;
    for (const LinearPiece& piece : pieces) {
      const Tiles part = {std::max<int64_t>(0, item.begin - first_tile),
                          std::min(piece.tiles, item.end - first_tile)};
      first_tile += piece.tiles;
      if (part.begin >= part.end) continue;
      const WeightTiles& weight = *piece.weight;
      if (!prepared->serves(weight, row)) {
        kernels_.prepare(weight, in, row, count, words);
        *prepared = {&weight, row};
      }
      OutputRows out = piece.out;
      out.data += row * out.stride;
      kernels_.linear(weight, rows_of(in, row, count, words, room), part, out);
    }
  });
}

void LinearDriver::run_gated(const QuantizedRows& in, int64_t rows,
                             const WeightTiles& gate, const WeightTiles& up,
                             int64_t tiles, bool is_silu,
                             const QuantizedRows& out) {
  const Plan p = plan(in, rows, tiles);
  const int64_t words = prepared_words(p, in);
  const int64_t gate_bytes = room_for(gate, p);
  const int64_t up_bytes = room_for(up, p);
  scratch_.fit(static_cast<size_t>(words * 2 * 4 + gate_bytes + up_bytes));
  const bool is_alike = prepare_alike(gate, up);
  for_items(p, [&](int thread, int64_t row, int64_t count, Tiles item,
                   Prepared* prepared) {
    int32_t* for_gate = scratch_.at<int32_t>(thread);
    int32_t* for_up = is_alike ? for_gate : for_gate + words;
    uint8_t* room = scratch_.at<uint8_t>(thread) + words * 2 * 4;
    uint8_t* gate_room = gate_bytes == 0 ? nullptr : room;
    uint8_t* up_room = up_bytes == 0 ? nullptr : room + gate_bytes;
    if (!prepared->serves(gate, row)) {
      kernels_.prepare(gate, in, row, count, for_gate);
      if (!is_alike) kernels_.prepare(up, in, row, count, for_up);
      *prepared = {&gate, row};
    }
    kernels_.gated(gate, rows_of(in, row, count, for_gate, gate_room), up,
                   rows_of(in, row, count, for_up, up_room), item, is_silu, row,
                   out);
  });
}

}  // namespace carat::cpu
