// The wide linear kernels for 4-bit weights.
#include "backend/cuda/linear_wide.cuh"

namespace carat::cuda {
namespace {

template <bool kGated>
WideKernel kernel_of(int width) {
  switch (width) {
    case 48:
      return linear_wide_kernel<4, 48, kGated>;
    case 64:
      return linear_wide_kernel<4, 64, kGated>;
    case 80:
      return linear_wide_kernel<4, 80, kGated>;
    case 104:
      return linear_wide_kernel<4, 104, kGated>;
    case 128:
      return linear_wide_kernel<4, 128, kGated>;
    case 152:
      return linear_wide_kernel<4, 152, kGated>;
    case 160:
      return linear_wide_kernel<4, 160, kGated>;
    default:
      return nullptr;
  }
}

}  // namespace

WideKernel wide_kernel_4(int width, bool gated) {
  return gated ? kernel_of<true>(width) : kernel_of<false>(width);
}

}  // namespace carat::cuda
