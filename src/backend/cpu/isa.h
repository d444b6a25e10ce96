// Which kernels this machine can run.
#ifndef CARAT_BACKEND_CPU_ISA_H_
#define CARAT_BACKEND_CPU_ISA_H_

#include <string_view>

#include "backend/cpu/kernel_table.h"

namespace carat::cpu {

/// The kernels of "avx512", "avx2" or "portable", or the first of these that
/// the processor and the operating system support for "auto".
/// Throws: Error{kInvalidArgument} for another name, Error{kUnsupported}.
const KernelTable& select_kernels(std::string_view isa);

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ISA_H_
