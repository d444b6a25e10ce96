#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
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
  if (options.name == "auto" || options.name == "cpu") {
    return make_cpu_backend(options.isa, options.threads, options.pin_threads);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "backend '" + options.name +
                  "' is unknown; expected auto, cpu or reference");
}

}  // namespace carat
