#if defined(__aarch64__)

#define CARAT_CPU_TARGET neon_dotprod

#include "backend/cpu/kernel_table.h"
#include "backend/cpu/simd_neon.h"
// The kernels, written in the vocabulary above; each needs those before it.
// clang-format off
#include "backend/cpu/kernels/math.inl.h"
#include "backend/cpu/kernels/rows.inl.h"
#include "backend/cpu/kernels/codes.inl.h"
#include "backend/cpu/kernels/linear.inl.h"
#include "backend/cpu/kernels/attention.inl.h"
#include "backend/cpu/kernels/peak.inl.h"
#include "backend/cpu/kernels/table.inl.h"
// clang-format on

namespace carat::cpu {

const KernelTable& neon_dotprod_kernels() { return neon_dotprod::kTable; }

}  // namespace carat::cpu

#endif  // __aarch64__
