// The wide linear kernels for 8-bit weights; a file of their own, so that they
// compile beside the others.
#include "backend/cuda/linear_wide.cuh"

namespace carat::cuda {

WideKernel wide_kernel_8(int width, bool gated) {
  return gated ? wide_kernel_of<8, true>(width)
               : wide_kernel_of<8, false>(width);
}

WideKernel split_kernel_8() {
  return linear_wide_kernel<8, kSplitWidth, false, true>;
}

}  // namespace carat::cuda
