// A CUDA backend, for tests that skip without one.
#ifndef CARAT_TESTS_CUDA_DEVICE_H_
#define CARAT_TESTS_CUDA_DEVICE_H_

#include <memory>
#include <string>

#include "backend/registry.h"
#include "carat/error.h"

namespace carat {

// Null, with the reason, where there is no device or no code for it.
inline std::unique_ptr<Backend> cuda_or_null(std::string* reason) {
  try {
    return make_backend({.name = "cuda", .threads = 2});
  } catch (const Error& error) {
    *reason = error.what();
    return nullptr;
  }
}

}  // namespace carat

#endif  // CARAT_TESTS_CUDA_DEVICE_H_
