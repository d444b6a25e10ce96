#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#ifdef CARAT_HAS_CUDA
#include "backend/cuda/cuda_backend.h"
#endif
#include "backend/reference/reference_backend.h"
#include "carat/error.h"

namespace carat {

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  constexpr int kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads) {
    throw Error(ErrorCode::kInvalidArgument,
                "threads is " + std::to_string(options.threads) +
                    "; expected 0 (all) to " + std::to_string(kMaxThreads));
  }
  if (options.name == "reference") {
    return make_reference_backend(options.threads, options.pin_threads);
  }
#ifdef CARAT_HAS_CUDA
  const bool is_preferred = options.name == "auto" && cuda_device_count() > 0;
  if (options.name == "cuda" || is_preferred) {
    return make_cuda_backend(options.device, options.threads);
  }
#else
  if (options.name == "cuda") {
    throw Error(ErrorCode::kUnsupported,
                "backend 'cuda' is not in this build (CARAT_CUDA=OFF)");
  }
#endif
  if (options.name == "auto" || options.name == "cpu") {
    return make_cpu_backend(options.isa, options.threads, options.pin_threads);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "backend '" + options.name +
                  "' is unknown; expected auto, cpu, cuda or reference");
}

}  // namespace carat
