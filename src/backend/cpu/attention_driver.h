// Runs attention's units on the threads of a pool.
#ifndef CARAT_BACKEND_CPU_ATTENTION_DRIVER_H_
#define CARAT_BACKEND_CPU_ATTENTION_DRIVER_H_

#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/attention_plan.h"
#include "backend/cpu/cpu_memory.h"
#include "backend/cpu/kernel_table.h"
#include "backend/cpu/thread_scratch.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"

namespace carat::cpu {

/// Not thread-safe.
class AttentionDriver {
 public:
  AttentionDriver(ThreadPool& pool, const KernelTable& kernels)
      : pool_(pool), kernels_(kernels), scratch_(pool.size()) {}

  /// Shapes and block tables are already checked.
  void run(Matrix q, std::span<const SequenceRows> sequences,
           const KvLayer& layer, CpuKv& kv, const AttentionShape& shape,
           const QuantizedRows& out);

 private:
  /// What run() was called with.
  struct Operation {
    Matrix q;
    std::span<const SequenceRows> sequences;
    const AttentionShape& shape;
    const QuantizedRows& out;
    int64_t value_offset;
  };

  void resolve_blocks(std::span<const SequenceRows> sequences,
                      const KvLayer& layer, CpuKv& kv,
                      const AttentionShape& shape);
  AttentionCall call_of(const Operation& op, const AttentionUnit& unit) const;
  void finish(const Operation& op, const AttentionUnit& unit,
              const AttentionState& state);

  ThreadPool& pool_;
  const KernelTable& kernels_;
  ThreadScratch scratch_;
  AlignedBuffer partials_;  ///< states of units that are parts
  AlignedBuffer rows_;      ///< float outputs where heads are not whole groups
  std::vector<AttentionUnit> units_;
  std::vector<const uint16_t*> blocks_;  ///< by sequence, kv head, block
  std::vector<size_t> first_blocks_;     ///< of (sequence, kv head) in blocks_
  std::vector<int64_t> first_visible_;   ///< absolute block, by sequence
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ATTENTION_DRIVER_H_
