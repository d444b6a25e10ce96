// Which backend a name makes; with and without a GPU or code for one.
#include "backend/registry.h"

#include <gtest/gtest.h>

#include <string>

#include "carat/error.h"

namespace carat {
namespace {

std::string message_of(const BackendOptions& options, ErrorCode code) {
  try {
    make_backend(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(RegistryTest, AutoTakesAGpuThatCanBeUsedElseTheCpu) {
  bool has_gpu = true;
  try {
    make_backend({.name = "cuda", .threads = 1});
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kUnsupported ||
                error.code() == ErrorCode::kDevice)
        << error.what();
    has_gpu = false;
  }
  const auto backend = make_backend({.name = "auto", .threads = 1});
  EXPECT_TRUE(backend->name().starts_with(has_gpu ? "cuda" : "cpu"))
      << backend->name();
  EXPECT_EQ(backend->device_memory().has_value(), has_gpu);
}

TEST(RegistryTest, ADeviceOfACpuIsRefused) {
  for (const char* name : {"cpu", "reference"}) {
    const std::string message = message_of(
        {.name = name, .threads = 1, .device = 0}, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(name), std::string::npos) << message;
  }
}

TEST(RegistryTest, AnUnknownNameListsTheKnown) {
  const std::string message =
      message_of({.name = "tpu", .threads = 1}, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("auto, cpu, cuda or reference"), std::string::npos);
}

TEST(RegistryTest, ANamedDeviceIsNeverReplacedByTheCpu) {
  for (const char* name : {"auto", "cuda"}) {
    try {
      make_backend({.name = name, .threads = 1, .device = 1000});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kUnsupported ||
                  error.code() == ErrorCode::kDevice)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace carat
