// CUDA's error codes as carat::Error.
#ifndef CARAT_BACKEND_CUDA_DEVICE_ERROR_H_
#define CARAT_BACKEND_CUDA_DEVICE_ERROR_H_

#include <cuda_runtime_api.h>

#include <string>

namespace carat::cuda {

/// Throws unless `status` is success: Error{kOutOfMemory} if memory is short,
/// Error{kUnsupported} if the build has no code for the device or the driver is
/// too old, else Error{kDevice}. `what` names the step that failed. After some
/// errors (is_lasting) every later call in the process fails likewise.
void check(cudaError_t status, const char* what);

/// Whether the driver refuses all work of this process after `status`: a kernel
/// or the device has failed, and only a new process can use it again.
bool is_lasting(cudaError_t status);

/// How many devices there are, at least 1. Throws: Error{kDevice} if none,
/// Error{kUnsupported} if the driver is too old.
int count_devices();

/// What count_devices() makes of the driver's answers; `driver` and `runtime`
/// are CUDA versions (12040 is 12.4), `driver` 0 where there is none.
int checked_device_count(cudaError_t status, int count, int driver,
                         int runtime);

/// Throws Error{kUnsupported} if a device of this compute capability is too
/// old, or `code`, what asking for a kernel there gave, says that this build
/// has no code for it.
void check_architecture(const std::string& device, int major, int minor,
                        cudaError_t code);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_DEVICE_ERROR_H_
