// Owned, zeroed, page-aligned memory whose pages cost nothing until touched.
#ifndef CARAT_BASE_ALIGNED_BUFFER_H_
#define CARAT_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

namespace carat {

/// A block of anonymous memory: aligned to a page (so to 64 bytes), from 2 MiB
/// on to a huge page; reads as zero until written, and only touched pages
/// become resident. Move-only.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Throws: Error{kOutOfMemory}.
  explicit AlignedBuffer(size_t bytes);
  ~AlignedBuffer();

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : mapped_(std::exchange(other.mapped_, nullptr)),
        mapped_bytes_(std::exchange(other.mapped_bytes_, 0)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(mapped_, other.mapped_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace carat

#endif  // CARAT_BASE_ALIGNED_BUFFER_H_
