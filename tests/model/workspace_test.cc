#include "model/workspace.h"

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "carat/error.h"
#include "model/shapes.h"

namespace carat {
namespace {

// Beyond any address space, far from overflowing the arithmetic.
constexpr int64_t kTooManyRows = int64_t{1} << 44;

class WorkspaceTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_backend({.name = "reference"});
  Workspace workspace_{*backend_, model_shape("gemma3-270m")};
};

TEST_F(WorkspaceTest, RowsAreThereAgainAfterARefusal) {
  workspace_.fit(4, 1);
  EXPECT_THROW(workspace_.fit(kTooManyRows, 1), Error);
  workspace_.fit(4, 1);
  ASSERT_NE(workspace_.x.data, nullptr);
  EXPECT_GE(workspace_.x.rows, 4);
  EXPECT_LT(workspace_.x.rows, kTooManyRows);
}

TEST_F(WorkspaceTest, LogitsAreThereAgainAfterARefusal) {
  workspace_.fit(4, 1);
  EXPECT_THROW(workspace_.fit(4, kTooManyRows), Error);
  workspace_.fit(4, 1);
  ASSERT_NE(workspace_.logits.data, nullptr);
  EXPECT_GE(workspace_.logits.rows, 1);
  EXPECT_LT(workspace_.logits.rows, kTooManyRows);
}

}  // namespace
}  // namespace carat
