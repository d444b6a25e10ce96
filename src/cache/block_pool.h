// Which KV blocks are in use: reference-counted ids, reused before fresh ones.
#ifndef CARAT_CACHE_BLOCK_POOL_H_
#define CARAT_CACHE_BLOCK_POOL_H_

#include <cstdint>
#include <vector>

namespace carat {

/// Hands out block ids from 0. A released id is handed out again before a new
/// one is made, so memory follows the most blocks ever in use. Not thread-safe.
class BlockPool {
 public:
  /// An id with one reference.
  int32_t acquire();
  /// One more reference to a block in use.
  void retain(int32_t id);
  /// One reference less; the last one frees the id.
  void release(int32_t id);

  /// Ids handed out and not yet free.
  int64_t in_use() const { return in_use_; }
  /// One more than the highest id ever handed out.
  int64_t size() const { return static_cast<int64_t>(references_.size()); }

 private:
  std::vector<int32_t> references_;  // by id
  std::vector<int32_t> free_;        // last in, first out: still warm
  int64_t in_use_ = 0;
};

}  // namespace carat

#endif  // CARAT_CACHE_BLOCK_POOL_H_
