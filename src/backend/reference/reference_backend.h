// The executable specification: plain f32 loops over dequantised weights.
#ifndef CARAT_BACKEND_REFERENCE_REFERENCE_BACKEND_H_
#define CARAT_BACKEND_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "backend/backend.h"

namespace carat {

/// Slow, exact in weights and activations, and the measure of every other
/// backend. `threads` and `pin` as ThreadPool's.
std::unique_ptr<Backend> make_reference_backend(int threads, bool pin = false);

}  // namespace carat

#endif  // CARAT_BACKEND_REFERENCE_REFERENCE_BACKEND_H_
