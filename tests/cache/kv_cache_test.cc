#include "cache/kv_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "backend/reference/reference_backend.h"

namespace carat {
namespace {

constexpr int64_t kWindow = 100;

class KvCacheTest : public testing::Test {
 protected:
  KvCacheTest() : backend_(make_reference_backend(1)) {
    KvCacheShape shape;
    shape.kinds[static_cast<int>(CacheKind::kFull)] = {.layers = 1,
                                                       .window = 0};
    shape.kinds[static_cast<int>(CacheKind::kWindow)] = {.layers = 5,
                                                         .window = kWindow};
    shape.kv_heads = 1;
    shape.head_dim = 4;
    cache_ = std::make_unique<KvCache>(*backend_, shape);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCache> cache_;
};

TEST(FirstVisibleTest, CountsTheQueryItself) {
  EXPECT_EQ(first_visible(5, 0), 0);
  EXPECT_EQ(first_visible(0, 16), 0);
  EXPECT_EQ(first_visible(15, 16), 0);
  EXPECT_EQ(first_visible(16, 16), 1);
  EXPECT_EQ(first_visible(100, 1), 100);
}

// Whatever the chunk sizes, the table covers every position that the next
// token's window and the chunk itself need, and hardly more.
TEST_F(KvCacheTest, TablesCoverTheWindowAndNoMore) {
  for (const int64_t chunk : {1, 7, 63, 64, 65, 200}) {
    KvSequence sequence(*cache_);
    for (int step = 0; step < 30; ++step) {
      sequence.reserve(chunk);
      const int64_t end = sequence.length() + chunk;
      const int64_t first = first_visible(sequence.length(), kWindow);
      const BlockTable window = sequence.table(CacheKind::kWindow);
      EXPECT_LE(window.first_block, first / kBlockTokens);
      EXPECT_EQ(window.first_block + static_cast<int64_t>(window.ids.size()),
                (end + kBlockTokens - 1) / kBlockTokens);
      EXPECT_EQ(window.first_block, first / kBlockTokens);
      const BlockTable full = sequence.table(CacheKind::kFull);
      EXPECT_EQ(full.first_block, 0);
      EXPECT_EQ(full.ids.size(), window.first_block + window.ids.size());
      sequence.commit(chunk);
    }
  }
}

TEST_F(KvCacheTest, BlocksKeepTheirIdsWhileVisible) {
  KvSequence sequence(*cache_);
  sequence.reserve(300);
  const BlockTable before = sequence.table(CacheKind::kWindow);
  const std::vector<int32_t> ids(before.ids.begin(), before.ids.end());
  sequence.commit(300);
  const BlockTable after = sequence.table(CacheKind::kWindow);
  for (size_t i = 0; i < after.ids.size(); ++i) {
    EXPECT_EQ(after.ids[i], ids[i + after.first_block]);
  }
}

TEST_F(KvCacheTest, SequencesNeverShareABlock) {
  KvSequence a(*cache_), b(*cache_);
  for (int step = 0; step < 20; ++step) {
    for (KvSequence* sequence : {&a, &b}) {
      sequence->reserve(50);
      sequence->commit(50);
    }
    for (const CacheKind kind : {CacheKind::kFull, CacheKind::kWindow}) {
      std::set<int32_t> ids;
      for (const KvSequence* sequence : {&a, &b}) {
        for (const int32_t id : sequence->table(kind).ids) {
          EXPECT_TRUE(ids.insert(id).second) << "block " << id;
        }
      }
    }
  }
}

TEST_F(KvCacheTest, ClearingAndDestroyingGiveEverythingBack) {
  {
    KvSequence a(*cache_), b(*cache_);
    for (KvSequence* sequence : {&a, &b}) {
      sequence->reserve(1000);
      sequence->commit(1000);
    }
    EXPECT_GT(cache_->bytes_in_use(), 0);
    a.clear();
    EXPECT_EQ(a.length(), 0);
    EXPECT_TRUE(a.table(CacheKind::kFull).ids.empty());
  }
  EXPECT_EQ(cache_->bytes_in_use(), 0);
}

TEST_F(KvCacheTest, ReservingTwiceTakesBlocksOnce) {
  KvSequence sequence(*cache_);
  sequence.reserve(130);
  sequence.reserve(130);
  EXPECT_EQ(sequence.table(CacheKind::kFull).ids.size(), 3u);
}

}  // namespace
}  // namespace carat
