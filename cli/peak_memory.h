// How much memory this process has used.
#ifndef CARAT_CLI_PEAK_MEMORY_H_
#define CARAT_CLI_PEAK_MEMORY_H_

#include <cstdint>

namespace carat::cli {

/// The process's largest resident set so far (VmHWM), in bytes; 0 if the system
/// does not tell.
int64_t peak_memory_bytes();

}  // namespace carat::cli

#endif  // CARAT_CLI_PEAK_MEMORY_H_
