#include "hub/file_system.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <limits>
#include <system_error>
#include <thread>

#include "carat/hub.h"

namespace carat {

namespace fs = std::filesystem;

void throw_file_error(const fs::path& path, const std::string& what,
                      int error) {
  const std::string message = path.string() + ": cannot " + what + ": " +
                              std::generic_category().message(error);
  if (error == ENOSPC || error == EDQUOT) {
    throw HubError(HubProblem::kDiskFull, message);
  }
  throw Error(ErrorCode::kNotFound, message);
}

File::File(const fs::path& path, int flags)
    : number_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (number_ < 0) {
    throw_file_error(path, (flags & O_CREAT) != 0 ? "create it" : "open it",
                     errno);
  }
}

File::~File() {
  if (number_ >= 0) close(number_);
}

void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw_file_error(folder, "make the folder", error.value());
}

void sync_folder(const fs::path& folder) {
  const int number = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (number < 0) return;
  fsync(number);
  close(number);
}

void replace_file(const fs::path& path, const fs::path& temporary,
                  std::string_view text) {
  {
    const File file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    for (std::string_view rest = text; !rest.empty();) {
      const ssize_t count = write(file.number(), rest.data(), rest.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_file_error(temporary, "write", errno);
      rest.remove_prefix(static_cast<size_t>(count));
    }
    if (fsync(file.number()) != 0) throw_file_error(temporary, "write", errno);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    throw_file_error(path, "replace it", errno);
  }
  sync_folder(path.parent_path());
}

std::string read_small_file(const fs::path& path, int64_t most) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) return {};
  if (bytes > static_cast<uint64_t>(most)) {
    throw Error(ErrorCode::kCorrupt,
                path.string() + ": has " + std::to_string(bytes) +
                    " bytes, expected at most " + std::to_string(most));
  }
  const File file(path, O_RDONLY);
  std::string text(bytes, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count =
        read(file.number(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_file_error(path, "read", errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  text.resize(done);
  return text;
}

int64_t free_bytes(const fs::path& folder) {
  struct statvfs status = {};
  if (statvfs(folder.c_str(), &status) != 0) {
    return std::numeric_limits<int64_t>::max();
  }
  return static_cast<int64_t>(status.f_bavail * status.f_frsize);
}

FileLock::FileLock(const fs::path& path, const std::function<void()>& on_wait,
                   const std::function<void()>& poll) {
  bool told = false;
  while (true) {
    file_ = File(path, O_RDWR | O_CREAT);
    if (flock(file_.number(), LOCK_EX | LOCK_NB) == 0) {
      // Other tools may remove the file of a lock they gave back: a lock on a
      // file without a name keeps nobody out.
      struct stat held = {};
      struct stat named = {};
      if (fstat(file_.number(), &held) == 0 &&
          stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
          held.st_dev == named.st_dev) {
        return;
      }
      continue;
    }
    // A file system without locks: nothing to wait for.
    if (errno == ENOSYS || errno == ENOTSUP || errno == ENOLCK) return;
    if (errno != EWOULDBLOCK && errno != EINTR) {
      throw_file_error(path, "lock it", errno);
    }
    if (!told) on_wait();
    told = true;
    poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace carat
