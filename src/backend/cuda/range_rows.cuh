// Activations of a range of k on their way to shared memory.
#ifndef CARAT_BACKEND_CUDA_RANGE_ROWS_CUH_
#define CARAT_BACKEND_CUDA_RANGE_ROWS_CUH_

#include <cstdint>

#include "backend/cuda/mma.cuh"
#include "backend/cuda/weight_format.h"

namespace carat::cuda {

// Rows of one range to shared memory, [k tile][row][128]: kGroups groups of
// eight lanes share the work, this is number `group`. Ready before the kernel
// before has ended.
template <int kRows, int kGroups>
struct ActivationCopy {
  const uint8_t* from;
  uint32_t to;
  int stride;
  int group;

  __device__ __forceinline__ ActivationCopy(const ActivationSlab& input,
                                            int range, int first_row,
                                            uint32_t place, int group)
      : stride(input.capacity * 128), group(group) {
    const int at = threadIdx.x % 8 * 16;
    from = input.data + at +
           (int64_t{range} * range_tiles(input.k_tiles) * input.capacity +
            first_row) *
               128;
    to = place + at;
    if constexpr (kRows == 1) {
      from += int64_t{group} * stride;
      to += group * 128;
    }
  }
  __device__ __forceinline__ void run(int count, int rows) const {
    if constexpr (kRows == 1) {
      for (int i = group, step = 0; i < count; i += kGroups, step += kGroups) {
        copy_async(to + step * 128, from + int64_t{step} * stride);
      }
    } else {
      int row = group;
      for (int i = 0; i < count;) {
        if (row >= rows) {
          row -= rows;
          ++i;
          continue;
        }
        copy_async(to + (i * rows + row) * 128,
                   from + int64_t{i} * stride + row * 128);
        row += kGroups;
      }
    }
  }
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_RANGE_ROWS_CUH_
