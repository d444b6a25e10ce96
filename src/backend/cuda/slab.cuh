// Addresses in an activation slab (weight_format.h).
#ifndef CARAT_BACKEND_CUDA_SLAB_CUH_
#define CARAT_BACKEND_CUDA_SLAB_CUH_

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/weight_format.h"

namespace carat::cuda {

// The 16-byte chunk that holds columns [8 chunk, + 8) of a k tile's row.
__device__ __forceinline__ uint8_t* slab_chunk(const ActivationSlab& slab,
                                               int64_t row, int k_tile,
                                               int chunk) {
  return slab.data + (int64_t{k_tile} * slab.capacity + row) * 128 +
         ((chunk ^ static_cast<int>(row & 7)) << 4);
}

__device__ __forceinline__ __nv_bfloat16* slab_at(const ActivationSlab& slab,
                                                  int64_t row, int col) {
  return reinterpret_cast<__nv_bfloat16*>(
             slab_chunk(slab, row, col / kTileCols, col % kTileCols / 8)) +
         col % 8;
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_SLAB_CUH_
