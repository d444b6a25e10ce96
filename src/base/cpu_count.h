// How many processors this process may really use.
#ifndef CARAT_BASE_CPU_COUNT_H_
#define CARAT_BASE_CPU_COUNT_H_

namespace carat {

/// The smaller of the affinity mask's size and the control group's CPU quota
/// (cgroup v2 `cpu.max` or v1 `cpu.cfs_quota_us`, rounded up); at least 1.
int available_cpus();

}  // namespace carat

#endif  // CARAT_BASE_CPU_COUNT_H_
