#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include "carat/error.h"

namespace carat {
namespace {

TEST(BlockPoolTest, ReusesFreedIdsBeforeMakingNewOnes) {
  BlockPool pool;
  const int32_t a = pool.acquire();
  const int32_t b = pool.acquire();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.in_use(), 2);
  pool.release(a);
  EXPECT_EQ(pool.in_use(), 1);
  EXPECT_EQ(pool.acquire(), a);
  EXPECT_EQ(pool.size(), 2);
}

TEST(BlockPoolTest, ASharedBlockIsFreedWithItsLastReference) {
  BlockPool pool;
  const int32_t id = pool.acquire();
  pool.retain(id);
  pool.release(id);
  EXPECT_EQ(pool.in_use(), 1);
  pool.release(id);
  EXPECT_EQ(pool.in_use(), 0);
}

TEST(BlockPoolTest, RefusesIdsNotInUse) {
  BlockPool pool;
  EXPECT_THROW(pool.release(0), Error);
  const int32_t id = pool.acquire();
  pool.release(id);
  EXPECT_THROW(pool.release(id), Error);
  EXPECT_THROW(pool.retain(id), Error);
}

}  // namespace
}  // namespace carat
