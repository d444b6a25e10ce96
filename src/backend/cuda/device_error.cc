#include "backend/cuda/device_error.h"

#include <string>

#include "carat/error.h"

namespace carat::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // The error also stays behind as the "last error"; take it away, so that a
  // recoverable one does not surface again in a later call.
  cudaGetLastError();
  const std::string message = std::string("cuda: ") + what + ": " +
                              cudaGetErrorString(status) + " (" +
                              cudaGetErrorName(status) + ")";
  switch (status) {
    case cudaErrorMemoryAllocation:
      throw Error(ErrorCode::kOutOfMemory, message);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorUnsupportedPtxVersion:
      throw Error(ErrorCode::kUnsupported, message);
    default:
      throw Error(ErrorCode::kDevice, message);
  }
}

}  // namespace carat::cuda
