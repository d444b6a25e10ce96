#include "base/checked.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "base/require.h"
#include "carat/error.h"

namespace carat {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return {ErrorCode::kDevice, ""};
}

TEST(Checked, MultipliesUpToTheLastValueThatFits) {
  EXPECT_EQ(checked_mul(0, kMax, "t"), 0u);
  EXPECT_EQ(checked_mul(kMax, 1, "t"), kMax);
  EXPECT_EQ(checked_mul(0xffffffff, 0x100000001, "t"), kMax);
  EXPECT_THROW(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32, "t"), Error);
  EXPECT_THROW(checked_mul(kMax, 2, "t"), Error);
}

TEST(Checked, AddsUpToTheLastValueThatFits) {
  EXPECT_EQ(checked_add(0, 0, "t"), 0u);
  EXPECT_EQ(checked_add(kMax - 1, 1, "t"), kMax);
  EXPECT_THROW(checked_add(kMax, 1, "t"), Error);
}

TEST(Checked, AnOverflowIsCorruptAndNamesItsSubject) {
  const Error product =
      error_of([] { checked_mul(kMax, 3, "blk.0.attn_k.weight"); });
  EXPECT_EQ(product.code(), ErrorCode::kCorrupt);
  EXPECT_NE(std::string(product.what()).find("blk.0.attn_k.weight"),
            std::string::npos);
  const Error sum = error_of([] { checked_add(kMax, 3, "tensor data"); });
  EXPECT_EQ(sum.code(), ErrorCode::kCorrupt);
  EXPECT_NE(std::string(sum.what()).find("tensor data"), std::string::npos);
}

TEST(Checked, RoundsUpToMultiples) {
  EXPECT_EQ(round_up(0, 64), 0);
  EXPECT_EQ(round_up(1, 64), 64);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(round_up(65, 64), 128);
  EXPECT_EQ(round_up(7, 1), 7);
  EXPECT_EQ(ceil_div(1, 64), 1);
  EXPECT_EQ(ceil_div(64, 64), 1);
  EXPECT_EQ(ceil_div(65, 64), 2);
}

TEST(Require, ThrowsInvalidArgumentOnlyWhenBroken) {
  EXPECT_NO_THROW(require(true, "unused"));
  const Error error = error_of([] { require(false, "rows: must be >= 1"); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_STREQ(error.what(), "rows: must be >= 1");
}

TEST(ErrorCode, EveryCodeHasItsName) {
  EXPECT_EQ(error_code_name(ErrorCode::kNotFound), "not_found");
  EXPECT_EQ(error_code_name(ErrorCode::kCorrupt), "corrupt");
  EXPECT_EQ(error_code_name(ErrorCode::kUnsupported), "unsupported");
  EXPECT_EQ(error_code_name(ErrorCode::kInvalidArgument), "invalid_argument");
  EXPECT_EQ(error_code_name(ErrorCode::kOutOfMemory), "out_of_memory");
  EXPECT_EQ(error_code_name(ErrorCode::kDevice), "device");
  EXPECT_EQ(error_code_name(ErrorCode::kCancelled), "cancelled");
}

}  // namespace
}  // namespace carat
