// Keys and values of many sequences, in shared blocks of 64 positions.
#ifndef CARAT_CACHE_KV_CACHE_H_
#define CARAT_CACHE_KV_CACHE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "cache/block_pool.h"

namespace carat {

/// One layer kind's share of the cache.
struct CacheKindShape {
  int layers = 0;      ///< of this kind; 0: the kind is not used
  int64_t window = 0;  ///< positions a query sees, itself included; 0: all
};

struct KvCacheShape {
  std::array<CacheKindShape, kCacheKinds> kinds;  ///< indexed by CacheKind
  int kv_heads = 0;
  int head_dim = 0;
};

/// The block pools and storages that sequences draw from. Must outlive its
/// sequences, as the backend must outlive it. Not thread-safe.
class KvCache {
 public:
  KvCache(Backend& backend, const KvCacheShape& shape);

  const KvCacheShape& shape() const { return shape_; }
  KvStorage& storage(CacheKind kind) { return *kinds_[index(kind)].storage; }
  /// Bytes of all blocks in use.
  int64_t bytes_in_use() const;
  /// Blocks of `kind` in use.
  int64_t blocks_in_use(CacheKind kind) const {
    return kinds_[index(kind)].pool.in_use();
  }

 private:
  friend class KvSequence;
  struct Kind {
    BlockPool pool;
    std::unique_ptr<KvStorage> storage;  // null where the kind has no layers
  };
  static size_t index(CacheKind kind) { return static_cast<size_t>(kind); }

  KvCacheShape shape_;
  std::array<Kind, kCacheKinds> kinds_;
};

/// One sequence's place in the cache: how long it is and which blocks hold it.
/// Move-only; gives its blocks back when destroyed. Not thread-safe.
class KvSequence {
 public:
  explicit KvSequence(KvCache& cache) : cache_(&cache) {}
  ~KvSequence() { clear(); }
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  KvCache& cache() const { return *cache_; }
  /// Positions whose keys and values are in the cache.
  int64_t length() const { return length_; }

  /// Provides blocks for the positions [length, length + count), which a
  /// forward pass is about to fill. Throws: Error{kOutOfMemory}.
  void reserve(int64_t count);
  /// Counts `count` reserved positions as filled, and gives back the window
  /// blocks that no later position can see. Call when the pass is noted: a
  /// backend keeps the order of operations on a layer's cache, so reuse of a
  /// block comes after its last reader.
  void commit(int64_t count);
  /// Forgets everything.
  void clear();

  /// The blocks of `kind`, valid until the next call of a non-const member.
  BlockTable table(CacheKind kind) const;

 private:
  struct Table {
    std::vector<int32_t> ids;
    int64_t first_block = 0;
  };

  KvCache* cache_;
  int64_t length_ = 0;
  std::array<Table, kCacheKinds> tables_;
};

/// The first position that a query at `position` sees.
constexpr int64_t first_visible(int64_t position, int64_t window) {
  if (window <= 0 || position < window) return 0;
  return position - window + 1;
}

}  // namespace carat

#endif  // CARAT_CACHE_KV_CACHE_H_
