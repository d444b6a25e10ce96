// The backend for NVIDIA GPUs: 4- and 8-bit weights times bf16 activations on
// tensor cores, with the fixed arithmetic of docs/numerics-cuda.md.
#ifndef CARAT_BACKEND_CUDA_CUDA_BACKEND_H_
#define CARAT_BACKEND_CUDA_CUDA_BACKEND_H_

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace carat {

/// How many CUDA devices this process sees; 0 where there is no driver.
int cuda_device_count() noexcept;

/// `device` in [0, cuda_device_count()); `threads` pack weights at load, 0:
/// every processor that may be used. Throws: Error{kDevice} if there is no such
/// device or it fails, Error{kUnsupported} if its architecture is too old or
/// this build has no code for it, Error{kOutOfMemory}.
std::unique_ptr<Backend> make_cuda_backend(int device, int threads);

/// How many kernels the operations of a backend of make_cuda_backend() have
/// launched so far or will at the next submit(): tells whether operations were
/// fused. Throws: Error{kInvalidArgument} for another backend.
int64_t count_cuda_launches(const Backend& backend);

}  // namespace carat

#endif  // CARAT_BACKEND_CUDA_CUDA_BACKEND_H_
