#include "backend/cuda/batch_staging.h"

#include <algorithm>

#include "base/checked.h"

namespace carat::cuda {
namespace {

constexpr size_t kPadding = 256;

// Room for what is staged in steps, so that kernel parameters, and with them
// captured graphs, stay the same while a sequence grows.
constexpr int64_t kTableStep = 64;

template <class T>
const T* stage(LaunchQueue& queue, const std::vector<T>& values,
               size_t reserve = 0) {
  return static_cast<const T*>(queue.stage(
      values.data(), values.size() * sizeof(T), reserve * sizeof(T)));
}

}  // namespace

StagedSequences stage_sequences(LaunchQueue& queue,
                                std::span<const SequenceRows> sequences,
                                int64_t rows, CacheKind kind,
                                const CudaKv& kv) {
  std::vector<const uint8_t*> blocks;
  std::vector<SequenceInfo> infos;
  std::vector<int32_t> row_sequence(static_cast<size_t>(rows), -1);
  std::vector<size_t> starts;
  for (const SequenceRows& sequence : sequences) {
    const BlockTable& table = sequence.tables[static_cast<size_t>(kind)];
    starts.push_back(blocks.size());
    for (const int32_t id : table.ids) {
      const bool is_known = id >= 0 && id < kv.blocks();
      blocks.push_back(is_known ? kv.block(id) : nullptr);
    }
    const auto index = static_cast<int32_t>(infos.size());
    std::fill_n(row_sequence.begin() + sequence.first_row, sequence.rows,
                index);
    infos.push_back({sequence.first_position, table.first_block, nullptr,
                     static_cast<int32_t>(sequence.first_row),
                     static_cast<int32_t>(sequence.rows)});
  }
  const auto reserve = static_cast<size_t>(
      round_up(static_cast<int64_t>(blocks.size()) + 1, kTableStep));
  queue.make_room(reserve * sizeof(blocks[0]) +
                  infos.size() * sizeof(SequenceInfo) +
                  row_sequence.size() * sizeof(int32_t) + 3 * kPadding);
  const auto* staged = stage(queue, blocks, reserve);
  for (size_t i = 0; i < infos.size(); ++i) {
    infos[i].blocks = staged + starts[i];
  }
  StagedSequences result;
  result.sequences = stage(queue, infos);
  result.row_sequence = stage(queue, row_sequence);
  return result;
}

const int32_t* stage_positions(LaunchQueue& queue,
                               std::span<const SequenceRows> sequences,
                               int64_t rows) {
  std::vector<int32_t> positions(static_cast<size_t>(rows), 0);
  for (const SequenceRows& sequence : sequences) {
    for (int64_t t = 0; t < sequence.rows; ++t) {
      positions[static_cast<size_t>(sequence.first_row + t)] =
          static_cast<int32_t>(sequence.first_position + t);
    }
  }
  return stage(queue, positions);
}

std::vector<QueryTile> cut_tiles(std::span<const SequenceRows> sequences,
                                 int tile_rows) {
  std::vector<QueryTile> tiles;
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (int64_t first = 0; first < sequences[i].rows; first += tile_rows) {
      tiles.push_back({static_cast<int32_t>(i), static_cast<int32_t>(first)});
    }
  }
  std::stable_sort(
      tiles.begin(), tiles.end(), [&](const QueryTile& a, const QueryTile& b) {
        const auto last = [&](const QueryTile& tile) {
          return sequences[static_cast<size_t>(tile.sequence)].first_position +
                 tile.first;
        };
        return last(a) > last(b);
      });
  return tiles;
}

}  // namespace carat::cuda
