#include "cli/peak_memory.h"

#include <fstream>
#include <string>

namespace carat::cli {

int64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  std::string field;
  while (status >> field) {
    int64_t kib = 0;
    if (field == "VmHWM:" && status >> kib) return kib * 1024;
    std::getline(status, field);
  }
  return 0;
}

}  // namespace carat::cli
