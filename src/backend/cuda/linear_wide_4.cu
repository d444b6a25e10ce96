// The wide linear kernels for 4-bit weights; a file of their own, so that they
// compile beside the others.
#include "backend/cuda/linear_wide.cuh"

namespace carat::cuda {

WideKernel wide_kernel_4(int width, bool gated, bool has_bias) {
  if (gated) {
    return has_bias ? wide_kernel_of<4, true, true>(width)
                    : wide_kernel_of<4, true, false>(width);
  }
  return has_bias ? wide_kernel_of<4, false, true>(width)
                  : wide_kernel_of<4, false, false>(width);
}

}  // namespace carat::cuda
