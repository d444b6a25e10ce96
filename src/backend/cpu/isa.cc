#include "backend/cpu/isa.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "carat/error.h"

namespace carat::cpu {
namespace {

struct Isa {
  std::string_view name;
  bool supported;
  const KernelTable& (*kernels)();
};

// The compiler's checks include the operating system's support.
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

// Nor this one.
bool has_avxvnni() {
  unsigned a, b, c, d;
  constexpr unsigned kAvxVnni = 1u << 4;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 &&
         (a & kAvxVnni) != 0;
}

bool has_avx512vl_vnni() {
  return has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool has_avx512() {
  return has_avx512vl_vnni() && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq");
}
#elif defined(__aarch64__)
bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

bool has_i8mm() {
  return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
}
#endif

std::string all_names() {
  std::string names = "auto";
  for (const std::string_view name : kIsaNames) {
    names += name == std::end(kIsaNames)[-1] ? " or " : ", ";
    names += name;
  }
  return names;
}

}  // namespace

const KernelTable& select_kernels(std::string_view isa) {
  const Isa here[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512(), avx512_kernels},
    {"vnni256", has_avxvnni() || has_avx512vl_vnni(),
     has_avxvnni() ? vnni256_vex_kernels : vnni256_evex_kernels},
    {"avx2", has_avx2(), avx2_kernels},
#elif defined(__aarch64__)
    {"neon_i8mm", has_i8mm(), neon_i8mm_kernels},
    {"neon_dotprod", has_dotprod(), neon_dotprod_kernels},
#endif
    {"portable", true, portable_kernels},
  };
  for (const Isa& candidate : here) {
    if (isa == "auto" ? candidate.supported : isa == candidate.name) {
      if (candidate.supported) return candidate.kernels();
      throw Error(ErrorCode::kUnsupported,
                  "instruction set '" + std::string(isa) +
                      "' is not supported by this machine");
    }
  }
  constexpr std::string_view kElsewhere[] = {"avx512", "vnni256", "avx2",
                                             "neon_i8mm", "neon_dotprod"};
  if (std::find(std::begin(kElsewhere), std::end(kElsewhere), isa) !=
      std::end(kElsewhere)) {
    throw Error(ErrorCode::kUnsupported,
                "instruction set '" + std::string(isa) +
                    "' is not one of this architecture");
  }
  throw Error(ErrorCode::kInvalidArgument,
              "instruction set '" + std::string(isa) +
                  "' is unknown; expected " + all_names());
}

Tuning machine_tuning() {
  const int64_t l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  Tuning tuning = {
      0, false, std::clamp<int64_t>(l2_bytes / 10 * 6, 600 << 10, 2 << 20), {}};
#if defined(__x86_64__)
  if (__builtin_cpu_is("intel")) {
    tuning.decode_ahead_bytes = 4096;
    tuning.unpacks_tiles = true;
    tuning.chunk_tokens = 512;
  }
#endif
  return tuning;
}

}  // namespace carat::cpu
