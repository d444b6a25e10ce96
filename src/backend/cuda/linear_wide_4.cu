// The wide linear kernels for 4-bit weights; a file of their own, so that they
// compile beside the others.
#include "backend/cuda/linear_wide.cuh"

namespace carat::cuda {

WideKernel wide_kernel_4(int width, bool gated) {
  return gated ? wide_kernel_of<4, true>(width)
               : wide_kernel_of<4, false>(width);
}

WideKernel split_kernel_4() {
  return linear_wide_kernel<4, kSplitWidth, false, true>;
}

}  // namespace carat::cuda
