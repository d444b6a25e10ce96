// Where packed weights lie.
#ifndef CARAT_BACKEND_CPU_WEIGHT_MEMORY_H_
#define CARAT_BACKEND_CPU_WEIGHT_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"

namespace carat::cpu {

/// A piece of a slab, which lives as long as its pieces.
struct WeightPiece {
  std::shared_ptr<AlignedBuffer> slab;
  uint8_t* data = nullptr;
};

/// Lays matrices one after the other in large slabs, so that they are in huge
/// pages whatever their size and decode reads one stream of memory. Not
/// thread-safe.
class WeightMemory {
 public:
  /// Zeroed, aligned to 64 bytes. Throws: Error{kOutOfMemory}.
  WeightPiece take(size_t bytes);

 private:
  std::shared_ptr<AlignedBuffer> slab_;
  size_t used_ = 0;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_WEIGHT_MEMORY_H_
