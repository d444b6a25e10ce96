#include "cache/kv_cache.h"

#include <algorithm>

#include "base/checked.h"

namespace carat {

KvCache::KvCache(Backend& backend, const KvCacheShape& shape) : shape_(shape) {
  for (int kind = 0; kind < kCacheKinds; ++kind) {
    if (shape.kinds[kind].layers == 0) continue;
    kinds_[kind].storage = backend.make_kv({.layers = shape.kinds[kind].layers,
                                            .kv_heads = shape.kv_heads,
                                            .head_dim = shape.head_dim});
  }
}

int64_t KvCache::bytes_in_use() const {
  int64_t bytes = 0;
  for (const Kind& kind : kinds_) {
    if (kind.storage) bytes += kind.pool.in_use() * kind.storage->block_bytes();
  }
  return bytes;
}

void KvSequence::reserve(int64_t count) {
  const int64_t blocks = ceil_div(length_ + count, kBlockTokens);
  for (int kind = 0; kind < kCacheKinds; ++kind) {
    KvCache::Kind& shared = cache_->kinds_[kind];
    if (!shared.storage) continue;
    Table& table = tables_[kind];
    int64_t have = table.first_block + static_cast<int64_t>(table.ids.size());
    for (; have < blocks; ++have) table.ids.push_back(shared.pool.acquire());
    shared.storage->grow(shared.pool.size());
  }
}

void KvSequence::commit(int64_t count) {
  length_ += count;
  for (int kind = 0; kind < kCacheKinds; ++kind) {
    const int64_t window = cache_->shape_.kinds[kind].window;
    if (window == 0) continue;
    Table& table = tables_[kind];
    const int64_t first_block = first_visible(length_, window) / kBlockTokens;
    const int64_t drop = std::min(first_block - table.first_block,
                                  static_cast<int64_t>(table.ids.size()));
    for (int64_t i = 0; i < drop; ++i) {
      cache_->kinds_[kind].pool.release(table.ids[i]);
    }
    if (drop <= 0) continue;
    table.ids.erase(table.ids.begin(), table.ids.begin() + drop);
    table.first_block += drop;
  }
}

void KvSequence::clear() {
  for (int kind = 0; kind < kCacheKinds; ++kind) {
    for (int32_t id : tables_[kind].ids) {
      cache_->kinds_[kind].pool.release(id);
    }
    tables_[kind] = {};
  }
  length_ = 0;
}

BlockTable KvSequence::table(CacheKind kind) const {
  const Table& table = tables_[static_cast<size_t>(kind)];
  return {table.ids, table.first_block};
}

}  // namespace carat
