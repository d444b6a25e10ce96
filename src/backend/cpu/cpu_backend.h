// The int8 CPU backend.
#ifndef CARAT_BACKEND_CPU_CPU_BACKEND_H_
#define CARAT_BACKEND_CPU_CPU_BACKEND_H_

#include <memory>
#include <string_view>

#include "backend/backend.h"

namespace carat {

/// A backend that computes what docs/numerics.md says, with the same bits for
/// every instruction set and number of threads. `isa` is "auto" or one of
/// cpu::kIsaNames; `threads` 0 means every processor that may be used, `pin` as
/// ThreadPool. Operations run in the call. Throws:
/// Error{kInvalidArgument} for an unknown name or negative threads,
/// Error{kUnsupported} for an instruction set this machine lacks.
std::unique_ptr<Backend> make_cpu_backend(std::string_view isa, int threads,
                                          bool pin = false);

}  // namespace carat

#endif  // CARAT_BACKEND_CPU_CPU_BACKEND_H_
