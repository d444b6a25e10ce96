// Kernels that start while the one before them still runs (sm_90): what does
// not depend on it may be done before wait_for_previous().
#ifndef CARAT_BACKEND_CUDA_OVERLAP_CUH_
#define CARAT_BACKEND_CUDA_OVERLAP_CUH_

namespace carat::cuda {

// Lets the next kernel start; it still waits for this one's end. First thing in
// every kernel, but for wide linear ones beside another lane.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Until all kernels before have ended and their writes are seen. Every thread
// of every kernel calls it before it touches what others write or read.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_OVERLAP_CUH_
