// Chooses how a wide linear launch is cut. Bits do not depend on it.
#ifndef CARAT_BACKEND_CUDA_LINEAR_WIDE_PLAN_H_
#define CARAT_BACKEND_CUDA_LINEAR_WIDE_PLAN_H_

#include <vector>

#include "backend/cuda/kernels.h"

namespace carat::cuda {

/// The fastest by a model of costs that asks for no more partial_bytes;
/// is_beside: where another chunk is at work too.
WidePlan plan_wide(const DeviceTraits& device, const LinearCall& call,
                   bool gated, int64_t most_partial_bytes,
                   bool is_beside = false);

/// How many sums a join adds, where K of `ranges` is shared by `parts`: the
/// first part leaves one, the others one a range.
constexpr int slots_of(int ranges, int parts) {
  return ranges - ranges / parts + 1;
}

/// The plans of the shapes seen last: finding one takes microseconds, which
/// every layer would spend before the device has its first work.
class WidePlans {
 public:
  WidePlans(const DeviceTraits& device, int64_t most_partial_bytes,
            bool is_beside = false)
      : device_(device),
        most_partial_bytes_(most_partial_bytes),
        is_beside_(is_beside) {}
  /// plan_wide() of a call.
  WidePlan of(const LinearCall& call, bool gated);

 private:
  struct Shape {
    int32_t rows, tiles, k_tiles, outputs, pieces;
    bool gated;
    bool operator==(const Shape&) const = default;
  };
  struct Entry {
    Shape shape;
    WidePlan plan;
  };
  static constexpr size_t kMostEntries = 64;

  DeviceTraits device_;
  int64_t most_partial_bytes_;
  bool is_beside_;
  std::vector<Entry> entries_;
  size_t next_ = 0;  // to be replaced
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_LINEAR_WIDE_PLAN_H_
