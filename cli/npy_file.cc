#include "cli/npy_file.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "fmt/format.h"

namespace carat::cli {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kPreambleBytes = 10;  // magic, version, header length
constexpr size_t kAlignBytes = 64;

std::string npy_header(const std::vector<int64_t>& shape) {
  std::string text = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
      fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  const size_t unpadded = kPreambleBytes + text.size() + 1;
  text.append((kAlignBytes - unpadded % kAlignBytes) % kAlignBytes, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace

NpyFile::NpyFile(std::filesystem::path path, const std::vector<int64_t>& shape)
    : path_(std::move(path)) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool direct =
      fs::exists(path_, ignored) && !fs::is_regular_file(path_, ignored);
  if (!direct) {
    temporary_ = path_;
    temporary_ += fmt::format(".{}.part", getpid());
  }
  file_.reset(std::fopen(direct ? path_.c_str() : temporary_.c_str(), "wbe"));
  if (!file_) fail("open");
  for (const int64_t extent : shape) values_left_ *= extent;
  const std::string header = npy_header(shape);
  write(header.data(), header.size());
}

NpyFile::~NpyFile() {
  if (file_ && !temporary_.empty()) unlink(temporary_.c_str());
}

void NpyFile::append(std::span<const float> values) {
  if (static_cast<int64_t>(values.size()) > values_left_) {
    throw std::logic_error("more values than the .npy file's shape holds");
  }
  write(values.data(), values.size_bytes());
  values_left_ -= static_cast<int64_t>(values.size());
}

void NpyFile::commit() {
  if (values_left_ != 0) {
    throw std::logic_error("fewer values than the .npy file's shape holds");
  }
  if (std::fflush(file_.get()) != 0) fail("write");
  if (!temporary_.empty() &&
      std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("rename to");
  }
  file_.reset();
}

void NpyFile::fail(const char* what) const {
  throw std::runtime_error(fmt::format("cannot {} {}: {}", what, path_.string(),
                                       std::strerror(errno)));
}

void NpyFile::write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_.get()) != bytes) fail("write");
}

}  // namespace carat::cli
