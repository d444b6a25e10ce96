// Thread blocks that run together and reach each other's shared memory
// (sm_90). Elsewhere a cluster is one block, and nothing here does anything.
#ifndef CARAT_BACKEND_CUDA_CLUSTER_CUH_
#define CARAT_BACKEND_CUDA_CLUSTER_CUH_

#include <cstdint>

namespace carat::cuda {

// Says that this thread block has started; its shared memory may be written by
// the others once they have come past cluster_wait().
__device__ __forceinline__ void cluster_arrive_started() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
// Says that what it has written is there, and that it has read what it needs.
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// The address of the same place in the shared memory of block `rank`.
__device__ __forceinline__ uint32_t cluster_address(uint32_t shared, int rank) {
#if __CUDA_ARCH__ >= 900
  uint32_t result;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(result)
      : "r"(shared), "r"(rank));
  return result;
#else
  return shared;
#endif
}
__device__ __forceinline__ void cluster_store(uint32_t address, float value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value)
               : "memory");
#endif
}
__device__ __forceinline__ void cluster_store_pair(uint32_t address, float x,
                                                   float y) {
#if __CUDA_ARCH__ >= 900
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(address),
               "f"(x), "f"(y)
               : "memory");
#endif
}
__device__ __forceinline__ float4 cluster_load_quad(uint32_t address) {
  float4 value = {0, 0, 0, 0};
#if __CUDA_ARCH__ >= 900
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(address)
               : "memory");
#endif
  return value;
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_CLUSTER_CUH_
