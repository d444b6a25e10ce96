// The wide linear kernels for 8-bit weights.
#include "backend/cuda/linear_wide.cuh"

namespace carat::cuda {
namespace {

template <bool kGated>
WideKernel kernel_of(int width) {
  switch (width) {
    case 64:
      return linear_wide_kernel<8, 64, kGated>;
    case 96:
      return linear_wide_kernel<8, 96, kGated>;
    case 128:
      return linear_wide_kernel<8, 128, kGated>;
    case 144:
      return linear_wide_kernel<8, 144, kGated>;
    case 160:
      return linear_wide_kernel<8, 160, kGated>;
    default:
      return nullptr;
  }
}

}  // namespace

WideKernel wide_kernel_8(int width, bool gated) {
  return gated ? kernel_of<true>(width) : kernel_of<false>(width);
}

}  // namespace carat::cuda
