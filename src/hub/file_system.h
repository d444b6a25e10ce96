// Files of the cache: owned descriptors, durable renames, locks, free space.
#ifndef CARAT_HUB_FILE_SYSTEM_H_
#define CARAT_HUB_FILE_SYSTEM_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace carat {

/// Throws HubError{kDiskFull} for a full disk or quota, else Error{kNotFound}:
/// "<path>: cannot <what>: <errno's text>".
[[noreturn]] void throw_file_error(const std::filesystem::path& path,
                                   const std::string& what, int error);

/// An open file. Closes it.
class File {
 public:
  File() = default;
  /// As open(2), with close-on-exec and mode 0666. Throws: as throw_file_error.
  File(const std::filesystem::path& path, int flags);
  ~File();
  File(File&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int number() const { return number_; }

 private:
  int number_ = -1;
};

/// mkdir -p. Throws: as throw_file_error.
void make_folders(const std::filesystem::path& folder);

/// Flushes a folder's entries to disk; does nothing where that is refused.
void sync_folder(const std::filesystem::path& folder);

/// Puts `text` at `path` by way of `temporary` (same file system), durably: at
/// any time `path` is as before or whole. Throws: as throw_file_error.
void replace_file(const std::filesystem::path& path,
                  const std::filesystem::path& temporary,
                  std::string_view text);

/// The whole file, of at most `most` bytes; empty if there is none.
/// Throws: as throw_file_error; Error{kCorrupt} if it is larger.
std::string read_small_file(const std::filesystem::path& path, int64_t most);

/// Bytes that this user may still write to the disk of `folder`.
int64_t free_bytes(const std::filesystem::path& folder);

/// Holds flock(2) on a file, which is made if need be, until destroyed.
class FileLock {
 public:
  /// While another process holds it: calls `on_wait` once, then `poll` about
  /// ten times a second; either may throw to give up.
  FileLock(const std::filesystem::path& path,
           const std::function<void()>& on_wait,
           const std::function<void()>& poll);

 private:
  File file_;
};

}  // namespace carat

#endif  // CARAT_HUB_FILE_SYSTEM_H_
