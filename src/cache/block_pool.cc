#include "cache/block_pool.h"

#include "base/require.h"

namespace carat {

int32_t BlockPool::acquire() {
  if (!free_.empty()) {
    const int32_t id = free_.back();
    free_.pop_back();
    references_[id] = 1;
    ++in_use_;
    return id;
  }
  references_.push_back(1);
  free_.reserve(references_.size());  // so that release() never allocates
  ++in_use_;
  return static_cast<int32_t>(references_.size() - 1);
}

void BlockPool::retain(int32_t id) {
  require(id >= 0 && id < size() && references_[id] > 0,
          "BlockPool::retain: the block is not in use");
  ++references_[id];
}

void BlockPool::release(int32_t id) {
  require(id >= 0 && id < size() && references_[id] > 0,
          "BlockPool::release: the block is not in use");
  if (--references_[id] > 0) return;
  free_.push_back(id);
  --in_use_;
}

}  // namespace carat
