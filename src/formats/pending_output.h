// Files and folders that appear whole or not at all.
#ifndef CARAT_FORMATS_PENDING_OUTPUT_H_
#define CARAT_FORMATS_PENDING_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace carat {

/// Where the output is until it is complete: `path`.part.
std::filesystem::path pending_path(const std::filesystem::path& path);

/// A file in the making: everything goes to `path`.part beside it, which
/// commit() brings to the disk and renames to `path`. A process killed before
/// leaves `path` as it was, and a .part that the next one writes over; a
/// process that is writing it holds a lock on it. Not thread-safe.
class PendingFile {
 public:
  /// Nothing is opened before open(). Without `replace`, what is at `path` by
  /// the time of open() or commit() stays there, and they throw.
  explicit PendingFile(std::filesystem::path path, bool replace = true);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Throws: Error{kInvalidArgument} if the file can't be made, or another
  /// process is writing it.
  void open();
  bool is_open() const { return fd_ >= 0; }

  /// Appends; small pieces are gathered. Throws: Error{kInvalidArgument},
  /// saying why (the disk is full).
  void write(std::span<const std::byte> bytes);

  /// Ends the file and puts it in its place, on the disk.
  /// Throws: as write.
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what, int error) const;
  void flush();
  void check_target() const;
  void put_in_place() const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool replace_;
  int fd_ = -1;
  std::vector<std::byte> gathered_;
  int64_t written_ = 0;
};

/// A folder in the making, likewise: `path`.part takes the place of `path` at
/// once, whose old contents are removed then.
class PendingFolder {
 public:
  /// Makes an empty `path`.part. Throws: Error{kInvalidArgument} if that can't
  /// be, another process is writing it, or, without `replace`, `path` is there
  /// and not an empty folder. With it, a folder is replaced only if all it
  /// holds is files, one of them config.json.
  explicit PendingFolder(const std::filesystem::path& path,
                         bool replace = false);
  ~PendingFolder();
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;

  /// Where the files go until commit().
  const std::filesystem::path& pending() const { return pending_; }

  /// Brings everything to the disk and the folder to its place.
  /// Throws: Error{kInvalidArgument}, also if `path` has meanwhile become what
  /// the constructor refuses.
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what, int error) const;
  void check_target() const;

  std::filesystem::path path_;
  std::filesystem::path pending_;
  bool replace_;
  int lock_ = -1;
};

}  // namespace carat

#endif  // CARAT_FORMATS_PENDING_OUTPUT_H_
