// The reference backend's KV blocks: f32, one allocation a block.
#ifndef CARAT_BACKEND_REFERENCE_KV_STORAGE_H_
#define CARAT_BACKEND_REFERENCE_KV_STORAGE_H_

#include <vector>

#include "backend/backend.h"
#include "base/aligned_buffer.h"

namespace carat::reference {

enum class KvPart : uint8_t { kKey, kValue };

class ReferenceKv : public KvStorage {
 public:
  explicit ReferenceKv(const KvLayout& layout) : KvStorage(layout) {}

  int64_t block_bytes() const override {
    return int64_t{2} * layout().layers * layout().kv_heads * kBlockTokens *
           layout().head_dim * static_cast<int64_t>(sizeof(float));
  }
  void grow(int64_t blocks) override {
    while (static_cast<int64_t>(blocks_.size()) < blocks) {
      blocks_.emplace_back(block_bytes());
    }
  }

  /// The head_dim floats of one position: [layer][part][head][position].
  const float* at(int32_t block, int layer, KvPart part, int head,
                  int64_t offset) const {
    const int64_t index =
        ((int64_t{2} * layer + static_cast<int64_t>(part)) * layout().kv_heads +
         head) *
            kBlockTokens +
        offset;
    return blocks_[block].as<float>() + index * layout().head_dim;
  }
  float* at(int32_t block, int layer, KvPart part, int head, int64_t offset) {
    return const_cast<float*>(static_cast<const ReferenceKv*>(this)->at(
        block, layer, part, head, offset));
  }

 private:
  std::vector<AlignedBuffer> blocks_;
};

}  // namespace carat::reference

#endif  // CARAT_BACKEND_REFERENCE_KV_STORAGE_H_
