#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#ifdef CARAT_HAS_CUDA
#include "backend/cuda/cuda_backend.h"
#endif
#include "backend/reference/reference_backend.h"
#include "carat/error.h"

namespace carat {
namespace {

std::unique_ptr<Backend> make_cuda(
    [[maybe_unused]] const BackendOptions& options) {
#ifdef CARAT_HAS_CUDA
  return make_cuda_backend(options.device.value_or(0), options.threads);
#else
  throw Error(ErrorCode::kUnsupported,
              "backend 'cuda' is not in this build: it was built without a "
              "CUDA compiler, or with CARAT_CUDA=OFF");
#endif
}

// Null where no device can be used: asking for cuda by name says why not.
std::unique_ptr<Backend> try_cuda(
    [[maybe_unused]] const BackendOptions& options) {
#ifdef CARAT_HAS_CUDA
  if (cuda_device_count() == 0) return nullptr;
  try {
    return make_cuda(options);
  } catch (const Error&) {
    return nullptr;
  }
#else
  return nullptr;
#endif
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  constexpr int kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads) {
    throw Error(ErrorCode::kInvalidArgument,
                "threads is " + std::to_string(options.threads) +
                    "; expected 0 (all) to " + std::to_string(kMaxThreads));
  }
  const bool is_auto = options.name == "auto";
  if (options.name == "cuda" || (is_auto && options.device)) {
    return make_cuda(options);
  }
  const bool is_host = options.name == "cpu" || options.name == "reference";
  if (options.device && is_host) {
    throw Error(ErrorCode::kInvalidArgument,
                "a device was named (" + std::to_string(*options.device) +
                    "), but backend '" + options.name + "' has none");
  }
  if (is_auto) {
    if (auto backend = try_cuda(options)) return backend;
  }
  if (is_auto || options.name == "cpu") {
    return make_cpu_backend(options.isa, options.threads, options.pin_threads);
  }
  if (options.name == "reference") {
    return make_reference_backend(options.threads, options.pin_threads);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "backend '" + options.name +
                  "' is unknown; expected auto, cpu, cuda or reference");
}

}  // namespace carat
