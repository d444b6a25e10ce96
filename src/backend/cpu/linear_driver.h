// Divides linear operations among threads and into blocks that fit the caches.
#ifndef CARAT_BACKEND_CPU_LINEAR_DRIVER_H_
#define CARAT_BACKEND_CPU_LINEAR_DRIVER_H_

#include <atomic>
#include <memory>
#include <span>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernel_table.h"
#include "backend/cpu/thread_scratch.h"
#include "base/thread_pool.h"

namespace carat::cpu {

/// One output matrix of a linear operation.
struct LinearPiece {
  const WeightTiles* weight;
  int64_t tiles;
  OutputRows out;
};

/// Rows are processed in blocks whose activations stay in L2 while the weights
/// stream by, once per block. Each thread has a share of the blocks and tiles
/// that lies together, so that the machine sees one stream of weights to fetch
/// ahead, and takes a few tiles at a time; with its own share done it helps
/// with the others', so that a thread which other programs slow down holds up
/// nobody. Not thread-safe.
class LinearDriver {
 public:
  LinearDriver(ThreadPool& pool, const KernelTable& kernels,
               const Tuning& tuning)
      : pool_(pool),
        kernels_(kernels),
        tuning_(tuning),
        scratch_(pool.size()),
        shares_(std::make_unique<Share[]>(static_cast<size_t>(pool.size()))) {}

  void run(const QuantizedRows& in, int64_t rows,
           std::span<const LinearPiece> pieces);

  /// out = activation(in * gate^T) * (in * up^T), quantised.
  void run_gated(const QuantizedRows& in, int64_t rows, const WeightTiles& gate,
                 const WeightTiles& up, int64_t tiles, bool is_silu,
                 const QuantizedRows& out);

 private:
  /// Blocks of rows x runs of tiles, in that order.
  struct Plan {
    int64_t rows;
    int64_t block_rows;
    int64_t tiles;
    int64_t run_tiles;
    int64_t runs;   ///< of tiles, in each block
    int64_t items;  ///< blocks * runs
  };
  Plan plan(const QuantizedRows& in, int64_t rows, int64_t tiles) const;
  int64_t prepared_words(const Plan& plan, const QuantizedRows& in) const;
  /// Bytes of LinearRows::room, 0 where it does not serve.
  int64_t room_for(const WeightTiles& w, const Plan& plan) const;
  LinearRows rows_of(const QuantizedRows& in, int64_t first, int64_t rows,
                     const int32_t* prepared, uint8_t* room) const;
  /// Calls body(thread, first row, count, tiles, what its scratch holds) for
  /// all items, on all threads.
  template <class Body>
  void for_items(const Plan& plan, const Body& body);

  ThreadPool& pool_;
  const KernelTable& kernels_;
  Tuning tuning_;
  ThreadScratch scratch_;
  /// The next item of each thread's share.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
  };
  std::unique_ptr<Share[]> shares_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_LINEAR_DRIVER_H_
