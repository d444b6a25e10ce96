#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <memory>
#include <string>

#include "carat/error.h"

namespace carat {

namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) {
  if (bytes == 0) return;
  // Huge pages are aligned to their size: room to begin at one.
  const size_t spare = bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* mapped = MAP_FAILED;
  if (bytes <= SIZE_MAX - spare) {
    mapped = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (mapped == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory,
                "cannot allocate " + std::to_string(bytes) + " bytes");
  }
  mapped_ = mapped;
  mapped_bytes_ = bytes + spare;
  data_ = mapped;
  bytes_ = bytes;
  if (spare > 0) {
    size_t space = mapped_bytes_;
    std::align(kHugePageBytes, bytes, data_, space);
    // Fewer TLB misses on weights and caches; advice only, so no error check.
    madvise(data_, bytes, MADV_HUGEPAGE);
  }
}

AlignedBuffer::~AlignedBuffer() {
  if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
}

}  // namespace carat
