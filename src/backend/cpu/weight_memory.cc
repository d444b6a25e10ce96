#include "backend/cpu/weight_memory.h"

#include <algorithm>

namespace carat::cpu {
namespace {

// Untouched pages of the last slab cost nothing.
constexpr size_t kSlabBytes = size_t{64} << 20;
constexpr size_t kAlignment = 64;

}  // namespace

WeightPiece WeightMemory::take(size_t bytes) {
  const size_t begin = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  if (slab_ == nullptr || begin > slab_->bytes() ||
      bytes > slab_->bytes() - begin) {
    slab_ = std::make_shared<AlignedBuffer>(std::max(bytes, kSlabBytes));
    used_ = bytes;
    return {slab_, slab_->as<uint8_t>()};
  }
  used_ = begin + bytes;
  return {slab_, slab_->as<uint8_t>() + begin};
}

}  // namespace carat::cpu
