#include "formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "carat/error.h"

namespace carat {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* action,
                       int error) {
  const bool absent = error == ENOENT || error == ENOTDIR;
  throw Error(absent ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
              path.string() + ": can't " + action + ": " +
                  std::generic_category().message(error));
}

/// Closes the descriptor on every way out; the mapping does not need it.
struct Descriptor {
  explicit Descriptor(int number) : fd(number) {}
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int fd;
};

int open_for_reading(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  int fd;
  do {
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file(open_for_reading(path));
  if (file.fd < 0) fail(path, "open", errno);
  struct stat status;
  if (fstat(file.fd, &status) != 0) fail(path, "read its size", errno);
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorCode::kNotFound,
                path.string() + ": is a folder, expected a file");
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument,
                path.string() + ": is not a regular file");
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return;
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail(path, "map", errno);
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

void MappedFile::release(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = [](const std::byte* pointer) {
    return reinterpret_cast<uintptr_t>(pointer);
  };
  const uintptr_t begin = address(part.data());
  const uintptr_t end = begin + part.size();
  if (begin < address(bytes_.data()) ||
      end > address(bytes_.data()) + bytes_.size()) {
    return;
  }
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = end / page * page;
  // Advice only: a refusal costs memory, not correctness.
  if (first < last) {
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace carat
