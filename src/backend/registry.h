// Makes a backend by name.
#ifndef CARAT_BACKEND_REGISTRY_H_
#define CARAT_BACKEND_REGISTRY_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace carat {

struct BackendOptions {
  std::string name = "auto";  ///< see EngineOptions
  std::string isa = "auto";   ///< cpu: see EngineOptions
  int threads = 0;            ///< 0: every processor that may be used
  std::optional<int> device = std::nullopt;  ///< cuda: see EngineOptions
  bool pin_threads = false;                  ///< see ThreadPool
};

/// Throws: Error{kInvalidArgument} for an unknown name, a thread count out of
/// [0, 1024] or a device named for a CPU; Error{kUnsupported} for an
/// instruction set or device this machine or build lacks, Error{kDevice} for a
/// device that does not exist or fails, Error{kOutOfMemory}.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace carat

#endif  // CARAT_BACKEND_REGISTRY_H_
