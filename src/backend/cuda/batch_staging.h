// A batch's sequences, positions and tiles on their way to the device.
#ifndef CARAT_BACKEND_CUDA_BATCH_STAGING_H_
#define CARAT_BACKEND_CUDA_BATCH_STAGING_H_

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch_queue.h"

namespace carat::cuda {

/// Device addresses, valid until the chunk is flushed.
struct StagedSequences {
  const SequenceInfo* sequences = nullptr;
  const int32_t* row_sequence = nullptr;  ///< per row, -1: none
};

/// Stages tables of one kind. The tables' blocks must have been checked, at
/// least those that kernels will follow.
StagedSequences stage_sequences(LaunchQueue& queue,
                                std::span<const SequenceRows> sequences,
                                int64_t rows, CacheKind kind, const CudaKv& kv);

/// Each row's position; rows of no sequence have 0.
const int32_t* stage_positions(LaunchQueue& queue,
                               std::span<const SequenceRows> sequences,
                               int64_t rows);

/// Cuts every sequence's rows into tiles of `tile_rows`; those that see the
/// most keys come first, since they take longest.
std::vector<QueryTile> cut_tiles(std::span<const SequenceRows> sequences,
                                 int tile_rows);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_BATCH_STAGING_H_
