// What CUDA's answers become; no device is asked.
#include "backend/cuda/device_error.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "carat/error.h"

namespace carat::cuda {
namespace {

struct Failure {
  ErrorCode code;
  std::string message;
};

Failure failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  ADD_FAILURE() << "no error";
  return {ErrorCode::kCorrupt, ""};
}

void expect_failure(const std::function<void()>& call, ErrorCode code,
                    const std::string& part) {
  const Failure failure = failure_of(call);
  EXPECT_EQ(failure.code, code) << failure.message;
  EXPECT_NE(failure.message.find(part), std::string::npos) << failure.message;
}

TEST(CudaDeviceError, SuccessIsNone) {
  check(cudaSuccess, "nothing");
  check_architecture("X", 9, 0, cudaSuccess);
  EXPECT_EQ(checked_device_count(cudaSuccess, 2, 13000, 13000), 2);
}

TEST(CudaDeviceError, CodesSayWhatKindItIs) {
  const auto failing = [](cudaError_t status) {
    return [status] { check(status, "doing it"); };
  };
  expect_failure(failing(cudaErrorMemoryAllocation), ErrorCode::kOutOfMemory,
                 "cuda: doing it: out of memory (cudaErrorMemoryAllocation)");
  expect_failure(failing(cudaErrorNoKernelImageForDevice),
                 ErrorCode::kUnsupported, "doing it");
  expect_failure(failing(cudaErrorInvalidValue), ErrorCode::kDevice,
                 "cudaErrorInvalidValue");
}

TEST(CudaDeviceError, ALostDeviceNeedsANewProcess) {
  const std::string advice = "only a new process can use the device again";
  for (const cudaError_t status :
       {cudaErrorIllegalAddress, cudaErrorLaunchFailure,
        cudaErrorECCUncorrectable, cudaErrorLaunchTimeout}) {
    EXPECT_TRUE(is_lasting(status));
    expect_failure([&] { check(status, "waiting"); }, ErrorCode::kDevice,
                   advice);
  }
  for (const cudaError_t status :
       {cudaErrorMemoryAllocation, cudaErrorInvalidValue, cudaErrorNoDevice}) {
    EXPECT_FALSE(is_lasting(status));
    const Failure failure = failure_of([&] { check(status, "waiting"); });
    EXPECT_EQ(failure.message.find(advice), std::string::npos);
  }
}

TEST(CudaDeviceError, NoDeviceSaysWhy) {
  const auto counting = [](cudaError_t status, int driver) {
    return [=] { checked_device_count(status, 0, driver, 13000); };
  };
  // Without a driver the runtime blames its age.
  expect_failure(counting(cudaErrorInsufficientDriver, 0), ErrorCode::kDevice,
                 "there is no NVIDIA driver");
  expect_failure(counting(cudaErrorInsufficientDriver, 12040),
                 ErrorCode::kUnsupported,
                 "the driver is for CUDA 12.4; expected 13.0 or later");
  expect_failure(counting(cudaErrorNoDevice, 13000), ErrorCode::kDevice,
                 "sees no device");
  expect_failure(counting(cudaSuccess, 13000), ErrorCode::kDevice,
                 "sees no device");
}

TEST(CudaDeviceError, AnArchitectureWithoutCodeIsNamed) {
  const auto checking = [](int major, int minor, cudaError_t code) {
    return [=] { check_architecture("Card X", major, minor, code); };
  };
  expect_failure(checking(7, 5, cudaSuccess), ErrorCode::kUnsupported,
                 "Card X has compute capability 7.5; expected 8.0 or later");
  expect_failure(checking(8, 9, cudaErrorNoKernelImageForDevice),
                 ErrorCode::kUnsupported,
                 "Card X has compute capability 8.9, for which this build has "
                 "no code; build with -DCARAT_CUDA_ARCHITECTURES=89");
  expect_failure(checking(9, 0, cudaErrorInvalidDeviceFunction),
                 ErrorCode::kUnsupported, "-DCARAT_CUDA_ARCHITECTURES=90a");
  expect_failure(checking(9, 0, cudaErrorECCUncorrectable), ErrorCode::kDevice,
                 "looking for code");
}

}  // namespace
}  // namespace carat::cuda
