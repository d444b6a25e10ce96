#include "backend/cuda/device_error.h"

#include <string>

#include "carat/error.h"

namespace carat::cuda {
namespace {

std::string version(int cuda) {  // 12040
  return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10);
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // The error also stays behind as the "last error"; take it away, so that a
  // recoverable one does not surface again in a later call.
  cudaGetLastError();
  std::string message = std::string("cuda: ") + what + ": " +
                        cudaGetErrorString(status) + " (" +
                        cudaGetErrorName(status) + ")";
  if (is_lasting(status)) {
    message += "; only a new process can use the device again";
  }
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

bool is_lasting(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
#if CUDART_VERSION >= 12080
    case cudaErrorContained:
#endif
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

int count_devices() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
  return checked_device_count(status, count, driver, runtime);
}

int checked_device_count(cudaError_t status, int count, int driver,
                         int runtime) {
  if (driver == 0) {
    throw Error(ErrorCode::kDevice,
                "cuda: there is no NVIDIA driver on this machine");
  }
  if (status == cudaErrorInsufficientDriver) {
    throw Error(ErrorCode::kUnsupported, "cuda: the driver is for CUDA " +
                                             version(driver) + "; expected " +
                                             version(runtime) + " or later");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    throw Error(ErrorCode::kDevice,
                "cuda: this process sees no device (of a driver for CUDA " +
                    version(driver) + "); CUDA_VISIBLE_DEVICES may hide it");
  }
  check(status, "looking for devices");
  return count;
}

void check_architecture(const std::string& device, int major, int minor,
                        cudaError_t code) {
  const std::string found = "cuda: " + device + " has compute capability " +
                            std::to_string(major) + "." + std::to_string(minor);
  if (major < 8) {
    throw Error(ErrorCode::kUnsupported, found + "; expected 8.0 or later");
  }
  switch (code) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidKernelImage:
    case cudaErrorUnsupportedPtxVersion:
      throw Error(ErrorCode::kUnsupported,
                  found +
                      ", for which this build has no code; build with "
                      "-DCARAT_CUDA_ARCHITECTURES=" +
                      std::to_string(major) + std::to_string(minor) +
                      (major == 9 ? "a" : ""));
    default:
      check(code, "looking for code for this device");
  }
}

}  // namespace carat::cuda
