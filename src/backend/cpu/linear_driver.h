// Divides linear operations among threads and into blocks that fit the caches.
#ifndef CARAT_BACKEND_CPU_LINEAR_DRIVER_H_
#define CARAT_BACKEND_CPU_LINEAR_DRIVER_H_

#include <span>

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
/// stream by, once per block; threads divide the tiles of all outputs together,
/// and the rows too where that balances better. Not thread-safe.
class LinearDriver {
 public:
  LinearDriver(ThreadPool& pool, const KernelTable& kernels)
      : pool_(pool), kernels_(kernels), scratch_(pool.size()) {}

  void run(const QuantizedRows& in, int64_t rows,
           std::span<const LinearPiece> pieces);

  /// out = activation(in * gate^T) * (in * up^T), quantised.
  void run_gated(const QuantizedRows& in, int64_t rows, const WeightTiles& gate,
                 const WeightTiles& up, int64_t tiles, bool is_silu,
                 const QuantizedRows& out);

 private:
  struct Share {
    Tiles tiles;
    int64_t first_row;
    int64_t end_row;
  };
  /// How many ways rows are divided, for this much work.
  int row_parts(int64_t rows, int64_t tiles) const;
  Share share_of(int thread, int row_parts, int64_t rows, int64_t tiles) const;
  int64_t block_rows(int64_t rows, const QuantizedRows& in) const;
  int64_t prepared_words(int64_t rows, const QuantizedRows& in) const;

  ThreadPool& pool_;
  const KernelTable& kernels_;
  ThreadScratch scratch_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_LINEAR_DRIVER_H_
