// CUDA's error codes as carat::Error.
#ifndef CARAT_BACKEND_CUDA_DEVICE_ERROR_H_
#define CARAT_BACKEND_CUDA_DEVICE_ERROR_H_

#include <cuda_runtime_api.h>

namespace carat::cuda {

/// Throws unless `status` is success: Error{kOutOfMemory} if memory is short,
/// Error{kUnsupported} if the build has no code for the device, else
/// Error{kDevice}. `what` names the step that failed.
void check(cudaError_t status, const char* what);

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_DEVICE_ERROR_H_
