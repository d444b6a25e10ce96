// Which rows' keys a flush has appended to which layers.
#ifndef CARAT_BACKEND_CUDA_APPEND_LOG_H_
#define CARAT_BACKEND_CUDA_APPEND_LOG_H_

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "backend/cuda/device_memory.h"

namespace carat::cuda {

/// Knows one flush: noting a later one forgets those before. Not thread-safe.
class AppendLog {
 public:
  void note(uint64_t flush, const CudaKv& kv, int layer,
            std::span<const SequenceRows> sequences);
  /// Whether `flush` has appended to the layer.
  bool has(uint64_t flush, const CudaKv& kv, int layer) const;
  /// Whether the last that `flush` appended to it were these rows.
  bool is_of(uint64_t flush, const CudaKv& kv, int layer,
             std::span<const SequenceRows> sequences) const;

 private:
  /// First position and number of rows of each sequence.
  using Places = std::vector<std::pair<int64_t, int64_t>>;
  static Places places_of(std::span<const SequenceRows> sequences);

  std::map<std::pair<const void*, int>, Places> appended_;
  uint64_t flush_ = 0;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_APPEND_LOG_H_
