// What this machine can do at most: the yardstick of `carat bench`.
#ifndef CARAT_BACKEND_CPU_MACHINE_PEAK_H_
#define CARAT_BACKEND_CPU_MACHINE_PEAK_H_

#include <string_view>

namespace carat {

struct MachinePeak {
  double integer_gmacs = 0;  ///< int8 multiplications, 10^9 a second
  double read_gbytes_per_s = 0;
};

/// Measures for less than a second with `threads` threads (0: all) and the
/// instruction set `isa`: quad dots from registers, and streaming reads of
/// 512 MB. Throws: as make_cpu_backend, Error{kOutOfMemory}.
MachinePeak measure_machine_peak(std::string_view isa, int threads);

}  // namespace carat

#endif  // CARAT_BACKEND_CPU_MACHINE_PEAK_H_
