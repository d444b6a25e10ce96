// Which kernels this machine can run.
#ifndef CARAT_BACKEND_CPU_ISA_H_
#define CARAT_BACKEND_CPU_ISA_H_

#include <cstdint>
#include <optional>
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

/// What differs between processors of one instruction set. It never changes a
/// bit of the results; docs/kernels.md has the measurements.
struct Tuning {
  /// How far ahead kernels that use each weight for one chunk of rows (a decode
  /// step) ask for weights; 0 where the machine's own prefetching is faster.
  int64_t decode_ahead_bytes;
  /// Whether to take codes apart once a tile (LinearRows::room), where that
  /// shares its ports with multiplications.
  bool unpacks_tiles;
  /// Of a core's L2, for the activations of a block of rows; the rest is for a
  /// weight tile and the outputs.
  int64_t block_bytes;
  /// The prefill chunk that was measured best; nullopt: the family's.
  std::optional<int64_t> chunk_tokens;
};
Tuning machine_tuning();

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ISA_H_
