// Which kernels this machine can run.
#ifndef CARAT_BACKEND_CPU_ISA_H_
#define CARAT_BACKEND_CPU_ISA_H_

#include <cstdint>
#include <string_view>

#include "backend/cpu/kernel_table.h"

namespace carat::cpu {

/// The instruction sets of this architecture, best first. "vnni256" is AVX2
/// with VNNI's dot product on 256 bits, in the encoding of AVX-VNNI or that of
/// AVX-512VL.
inline constexpr std::string_view kIsaNames[] = {
#if defined(__x86_64__)
    "avx512",
    "vnni256",
    "avx2",
#elif defined(__aarch64__)
    "neon_i8mm",
    "neon_dotprod",
#endif
    "portable",
};

/// The kernels of one of kIsaNames, or the first of these that the processor
/// and the operating system support for "auto".
/// Throws: Error{kInvalidArgument} for another name, Error{kUnsupported} for
/// one that this machine lacks or that is of another architecture.
const KernelTable& select_kernels(std::string_view isa);

/// How many bytes ahead kernels that use each weight for one chunk of rows (a
/// decode step) should ask for weights; 0 where the machine's own prefetching
/// alone is faster.
int64_t decode_ahead_bytes();

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ISA_H_
