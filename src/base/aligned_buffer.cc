#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <string>

#include "carat/error.h"

namespace carat {

AlignedBuffer::AlignedBuffer(size_t bytes) {
  if (bytes == 0) return;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory,
                "cannot allocate " + std::to_string(bytes) + " bytes");
  }
  constexpr size_t kHugePageBytes = size_t{2} << 20;
  // Fewer TLB misses on weights and caches; advice only, so no error check.
  if (bytes >= kHugePageBytes) madvise(data, bytes, MADV_HUGEPAGE);
  data_ = data;
  bytes_ = bytes;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace carat
