#include "backend/cpu/isa.h"

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "carat/error.h"

namespace carat::cpu {
namespace {

struct Isa {
  std::string_view name;
  bool supported;
  const KernelTable& (*kernels)();
};

#if defined(__x86_64__)
// Not every compiler's check knows this one. Its registers are AVX's.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         has_f16c();
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

const KernelTable& select_kernels(std::string_view isa) {
  // Best first. The compiler's check includes the operating system's support.
  const Isa known[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512(), avx512_kernels},
    {"avx2", has_avx2(), avx2_kernels},
#endif
    {"portable", true, portable_kernels},
  };
  for (const Isa& candidate : known) {
    if (isa == "auto" ? candidate.supported : isa == candidate.name) {
      if (candidate.supported) return candidate.kernels();
      throw Error(ErrorCode::kUnsupported,
                  "instruction set '" + std::string(isa) +
                      "' is not supported by this machine");
    }
  }
  if (isa == "avx512" || isa == "avx2") {
    throw Error(ErrorCode::kUnsupported,
                "instruction set '" + std::string(isa) +
                    "' is not one of this architecture");
  }
  throw Error(ErrorCode::kInvalidArgument,
              "instruction set '" + std::string(isa) +
                  "' is unknown; expected auto, avx512, avx2 or portable");
}

}  // namespace carat::cpu
