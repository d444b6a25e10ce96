#include "base/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

namespace carat {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// The path of this process in the v2 hierarchy ("0::/path"), or "".
std::string unified_cgroup_path() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "";
}

double quota_in(const std::string& folder) {
  std::ifstream v2(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    try {
      return std::stod(quota) / period;
    } catch (const std::exception&) {
      return kNoLimit;
    }
  }
  return kNoLimit;
}

double cgroup_cpus() {
  double cpus = kNoLimit;
  std::string path = unified_cgroup_path();
  // A limit on any ancestor binds as well.
  while (true) {
    cpus = std::min(cpus, quota_in("/sys/fs/cgroup" + path));
    const size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) break;
    path.resize(slash);
  }
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    cpus = std::min(cpus, quota / period);
  }
  return cpus;
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int in_mask =
      sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  const double quota = cgroup_cpus();
  if (quota >= in_mask) return std::max(1, in_mask);
  return std::max(1, static_cast<int>(std::ceil(quota)));
}

}  // namespace carat
