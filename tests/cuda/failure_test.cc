// Failures of the device: an Error each, and the process lives on.
#include <cstdlib>

#include "tests/cuda/cuda_fixture.h"

namespace carat {
namespace {

class CudaFailure : public CudaTest {};

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kCancelled;  // none
}

TEST_F(CudaFailure, OutOfMemoryIsRecoverable) {
  const int64_t floats =
      cuda().device_memory().value().total_bytes / 4 + (1 << 20);
  EXPECT_EQ(code_of([&] { cuda().allocate(floats); }), ErrorCode::kOutOfMemory);
  const Floats values = normals(64, 1);
  EXPECT_EQ(BackendMatrix(cuda(), 1, 64, values).values(), values);
}

TEST_F(CudaFailure, TheLastBlocksOfMemoryAreStillUsed) {
  const auto kv = cuda().make_kv({.layers = 8, .kv_heads = 8, .head_dim = 256});
  std::vector<std::unique_ptr<Buffer>> fill;
  // All but some hundred MB, in which doubling the blocks cannot fit.
  while (cuda().device_memory()->free_bytes > (int64_t{1} << 30)) {
    fill.push_back(cuda().allocate(
        (cuda().device_memory()->free_bytes - (int64_t{1} << 29)) / 8));
  }
  const int64_t left = cuda().device_memory()->free_bytes;
  const int64_t fitting = left * 15 / 16 / kv->block_bytes();
  for (int64_t blocks = 1; blocks <= fitting; ++blocks) kv->grow(blocks);
  EXPECT_EQ(code_of([&] { kv->grow(4 * fitting); }), ErrorCode::kOutOfMemory);
}

// Found on the threads that pack.
TEST_F(CudaFailure, AScaleThatIsTooLargeIsRecoverable) {
  RandomWeights source(4096, 64, {4, 32, 8, false}, 1);
  source.set_row(4000, 0x1p30f, 0);
  EXPECT_EQ(code_of([&] { cuda().pack(source); }), ErrorCode::kUnsupported);
  source.set_row(4000, 0x1p-6f, 0);
  EXPECT_NE(cuda().pack(source), nullptr);
}

TEST_F(CudaFailure, ADeviceThatIsNotThere) {
  for (const int device : {-1, 1000}) {
    EXPECT_EQ(
        code_of([&] { make_backend({.name = "cuda", .device = device}); }),
        ErrorCode::kDevice);
    EXPECT_EQ(
        code_of([&] { make_backend({.name = "auto", .device = device}); }),
        ErrorCode::kDevice);
  }
}

// A kernel writes where no memory is: the driver then refuses all else.
void lose_device() {
  const auto backend = make_backend({.name = "cuda", .threads = 1});
  const auto table = backend->pack(RandomWeights(64, 64, {4, 32, 8, false}, 1));
  const int32_t token = 3;
  const Matrix nowhere{reinterpret_cast<float*>(uintptr_t{1} << 52), 1, 64, 64};
  for (int i = 0; i < 2; ++i) {
    const ErrorCode code = code_of([&] {
      backend->embed(*table, {&token, 1}, 1, nowhere);
      backend->wait(backend->submit());
    });
    if (code != ErrorCode::kDevice) std::exit(10 + i);
  }
  if (code_of([&] { backend->allocate(16); }) != ErrorCode::kDevice) {
    std::exit(12);
  }
  if (code_of([] { make_backend({.name = "cuda"}); }) != ErrorCode::kDevice) {
    std::exit(13);
  }
  if (make_backend({.name = "auto"})->name().starts_with("cuda")) {
    std::exit(14);
  }
}

TEST_F(CudaFailure, ALostDeviceStaysAnErrorAndTheProcessAlive) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own
  EXPECT_EXIT(
      {
        lose_device();  // destructors too
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace carat
