// Owned, zeroed, page-aligned memory whose pages cost nothing until touched.
#ifndef CARAT_BASE_ALIGNED_BUFFER_H_
#define CARAT_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

namespace carat {

/// A block of anonymous memory: aligned to a page (so to 64 bytes), reads as
/// zero until written, and only touched pages become resident. Move-only.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Throws: Error{kOutOfMemory}.
  explicit AlignedBuffer(size_t bytes);
  ~AlignedBuffer();

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
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
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace carat

#endif  // CARAT_BASE_ALIGNED_BUFFER_H_
