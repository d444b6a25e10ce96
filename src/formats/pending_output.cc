#include "formats/pending_output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "carat/error.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr size_t kGatherBytes = 1 << 16;
// Written data is sent to the disk in pieces of this size as it comes: waiting
// for all of it at the end would take as long again.
constexpr int64_t kStartBytes = 64 << 20;

[[noreturn]] void fail_at(const fs::path& path, const std::string& what,
                          int error) {
  throw Error(ErrorCode::kInvalidArgument,
              path.string() + ": " + what +
                  (error == 0 ? "" : std::string(": ") + std::strerror(error)));
}

int open_again(const fs::path& path, int flags) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/// Opens `path` and locks it; what is locked is still under that name.
int open_locked(const fs::path& path, int flags, const fs::path& subject) {
  for (;;) {
    const int fd = open_again(path, flags);
    if (fd < 0) fail_at(subject, "cannot be written", errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(fd);
      if (error == EWOULDBLOCK) {
        fail_at(
            subject,
            "another process is writing it (" + path.string() + " is locked)",
            0);
      }
      fail_at(subject, "cannot be locked", error);
    }
    struct stat mine, there;
    if (fstat(fd, &mine) == 0 && stat(path.c_str(), &there) == 0 &&
        mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
      return fd;
    }
    close(fd);  // whoever had it has just finished
  }
}

/// Brings a folder's own entries to the disk. Advice: some file systems can't.
void sync_folder(const fs::path& folder) {
  const int fd =
      open_again(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

constexpr unsigned kNoReplace = 1;  // RENAME_NOREPLACE
constexpr unsigned kExchange = 2;   // RENAME_EXCHANGE: the names change places

/// In one step. EINVAL where the file system does not know `flag`.
bool rename_with(unsigned flag, const fs::path& a, const fs::path& b) {
#if defined(SYS_renameat2)
  return syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(),
                 flag) == 0;
#else
  (void)flag, (void)a, (void)b;
  errno = ENOSYS;
  return false;
#endif
}

/// Unless something is at `to`: EEXIST.
bool rename_to_free(const fs::path& from, const fs::path& to) {
  if (rename_with(kNoReplace, from, to)) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  return link(from.c_str(), to.c_str()) == 0 && unlink(from.c_str()) == 0;
}

fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

fs::path pending_path(const fs::path& path) {
  fs::path pending = path;
  pending += ".part";
  return pending;
}

PendingFile::PendingFile(fs::path path, bool replace)
    : path_(std::move(path)),
      temporary_(pending_path(path_)),
      replace_(replace) {}

PendingFile::~PendingFile() {
  if (fd_ < 0) return;
  unlink(temporary_.c_str());
  close(fd_);
}

void PendingFile::fail(const std::string& what, int error) const {
  fail_at(path_, what, error);
}

void PendingFile::check_target() const {
  std::error_code ignored;
  if (fs::is_directory(path_, ignored)) fail("is a folder", 0);
  if (!replace_ && fs::exists(fs::symlink_status(path_, ignored))) {
    fail("is there already", 0);
  }
}

void PendingFile::open() {
  check_target();
  fd_ = open_locked(temporary_, O_WRONLY | O_CREAT, path_);
  if (ftruncate(fd_, 0) != 0) fail("cannot be written", errno);
}

void PendingFile::write(std::span<const std::byte> bytes) {
  if (gathered_.size() + bytes.size() < kGatherBytes) {
    gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    return;
  }
  flush();
  while (!bytes.empty()) {
    const ssize_t size = ::write(fd_, bytes.data(), bytes.size());
    if (size < 0) {
      if (errno == EINTR) continue;
      fail("cannot be written", errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(size));
    const int64_t before = written_ / kStartBytes;
    written_ += size;
    if (written_ / kStartBytes > before) {
      sync_file_range(fd_, before * kStartBytes,
                      (written_ / kStartBytes - before) * kStartBytes,
                      SYNC_FILE_RANGE_WRITE);
    }
  }
}

void PendingFile::flush() {
  if (gathered_.empty()) return;
  std::vector<std::byte> bytes;
  bytes.swap(gathered_);
  bytes.reserve(kGatherBytes);
  const std::span<const std::byte> all(bytes);
  for (size_t done = 0; done < all.size();) {
    const ssize_t size = ::write(fd_, all.data() + done, all.size() - done);
    if (size < 0 && errno != EINTR) fail("cannot be written", errno);
    if (size > 0) done += static_cast<size_t>(size);
  }
  written_ += std::ssize(all);
}

void PendingFile::put_in_place() const {
  check_target();
  if (replace_ ? rename(temporary_.c_str(), path_.c_str()) == 0
               : rename_to_free(temporary_, path_)) {
    return;
  }
  const int error = errno;
  check_target();
  fail("cannot be put in its place", error);
}

void PendingFile::commit() {
  flush();
  if (fsync(fd_) != 0) fail("cannot be written", errno);
  put_in_place();
  close(fd_);
  fd_ = -1;
  sync_folder(path_.parent_path());
}

PendingFolder::PendingFolder(const fs::path& path, bool replace)
    : path_(without_slash(path)),
      pending_(pending_path(path_)),
      replace_(replace) {
  check_target();
  std::error_code error;
  fs::create_directories(pending_, error);
  if (error) fail("cannot be written", error.value());
  lock_ = open_locked(pending_, O_RDONLY | O_DIRECTORY, path_);
  for (const auto& entry : fs::directory_iterator(pending_, error)) {
    fs::remove_all(entry.path(), error);
    if (error) break;
  }
  if (error) fail("cannot be written", error.value());
}

PendingFolder::~PendingFolder() {
  if (lock_ < 0) return;
  std::error_code ignored;
  fs::remove_all(pending_, ignored);
  close(lock_);
}

void PendingFolder::fail(const std::string& what, int error) const {
  fail_at(path_, what, error);
}

void PendingFolder::check_target() const {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) fail("is there and no folder", 0);
  const bool empty = fs::is_empty(path_, error);
  if (error) fail("cannot be read", error.value());
  if (empty) return;
  if (!replace_) fail("is there and not empty", 0);
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    if (!entry.is_regular_file(error)) {
      fail("holds more than files and is not replaced", 0);
    }
  }
  if (!fs::exists(path_ / "config.json", error)) {
    fail("is no model folder (no config.json) and is not replaced", 0);
  }
}

void PendingFolder::commit() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(pending_, error)) {
    const int fd = open_again(entry.path(), O_RDONLY);
    const bool synced = fd >= 0 && fsync(fd) == 0;
    const int reason = errno;
    if (fd >= 0) close(fd);
    if (!synced) fail("cannot be written", reason);
  }
  sync_folder(pending_);
  check_target();
  // Only an empty folder gives way to another by a plain rename.
  if (rename(pending_.c_str(), path_.c_str()) == 0) {
    // That is all.
  } else if (!replace_ || (errno != ENOTEMPTY && errno != EEXIST)) {
    const int reason = errno;
    check_target();
    fail("cannot be put in its place", reason);
  } else if (rename_with(kExchange, pending_, path_)) {
    fs::remove_all(pending_, error);  // the old ones
  } else {
    fail("cannot be replaced on this file system", errno);
  }
  close(lock_);
  lock_ = -1;
  sync_folder(path_.parent_path());
}

}  // namespace carat
