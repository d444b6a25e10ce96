// Bounds-checked little-endian reads from a file's bytes.
#ifndef CARAT_FORMATS_BYTE_READER_H_
#define CARAT_FORMATS_BYTE_READER_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace carat {

/// A cursor over bytes it does not own. Every failure is an Error{kCorrupt}
/// that begins with the file's name; `what` says which field was being read.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string file_name)
      : bytes_(bytes), file_name_(std::move(file_name)) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  /// What has been read since the reader stood at `position`.
  std::span<const std::byte> since(uint64_t position) const {
    return bytes_.subspan(position, position_ - position);
  }
  const std::string& file_name() const { return file_name_; }

  /// The next number. Throws: Error{kCorrupt} at the end of the file.
  template <class T>
  T read(std::string_view what) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  /// A 64-bit length, then that many bytes: a view into the file. Throws:
  /// Error{kCorrupt} at the end of the file.
  std::string_view read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const std::span<const std::byte> text = take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  /// The next `size` bytes. Throws: Error{kCorrupt} at the end of the file.
  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > remaining()) fail_short(size, what);
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  /// Throws Error{kCorrupt} unless `count` items of at least `item_bytes` each
  /// can follow: the check that comes before allocating for them.
  void expect_room(uint64_t count, uint64_t item_bytes,
                   std::string_view what) const;

  /// Throws Error{kCorrupt, file name + ": " + problem}.
  [[noreturn]] void fail(const std::string& problem) const;
  /// Throws Error{kUnsupported, file name + ": " + problem}.
  [[noreturn]] void fail_unsupported(const std::string& problem) const;

 private:
  [[noreturn]] void fail_short(uint64_t size, std::string_view what) const;

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  std::string file_name_;
};

}  // namespace carat

#endif  // CARAT_FORMATS_BYTE_READER_H_
