// A read-only memory mapping of a whole file.
#ifndef CARAT_FORMATS_MAPPED_FILE_H_
#define CARAT_FORMATS_MAPPED_FILE_H_

#include <cstddef>
#include <filesystem>
#include <span>

namespace carat {

/// Owns the mapping; move-only. Reads are thread-safe. Another program must not
/// shorten the file meanwhile: reading a page that is gone ends the process.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws: Error{kNotFound} if there is no such file or it is a folder,
  /// Error{kInvalidArgument} if it can't be read or mapped. An empty file maps
  /// to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }
  /// Gives back the memory of the whole pages of `part`, which its reader has
  /// done with; reading it again brings them back from the file. A part that is
  /// not of this mapping is left alone.
  void release(std::span<const std::byte> part) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace carat

#endif  // CARAT_FORMATS_MAPPED_FILE_H_
