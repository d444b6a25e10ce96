#include "hub/part_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <system_error>
#include <utility>

#include "base/checked.h"
#include "base/require.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSmallestPiece = int64_t{1} << 20;
constexpr int64_t kLargestPiece = int64_t{64} << 20;
constexpr int64_t kJournalStep = int64_t{256} << 10;

/// The journal, in the machine's byte order: this, then int64 per piece.
struct Header {
  std::array<char, 16> magic;
  int64_t bytes;
  int64_t piece_bytes;
};
static_assert(sizeof(Header) == 32);
constexpr std::array<char, 16> kMagic = {"carat part 1\n"};

void write_at(int file, const void* bytes, size_t count, int64_t offset,
              const fs::path& path) {
  const char* next = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = pwrite(file, next, count, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error(path, "write", errno);
    next += written;
    offset += written;
    count -= static_cast<size_t>(written);
  }
}

}  // namespace

PartFile::PartFile(fs::path data, fs::path journal, int64_t bytes,
                   int connections)
    : data_(std::move(data)),
      journal_(std::move(journal)),
      bytes_(bytes),
      // Two pieces a connection even out its speed; huge files get more.
      piece_bytes_(std::clamp(
          round_up(ceil_div(std::max<int64_t>(bytes, 1), 2 * connections),
                   kSmallestPiece),
          kSmallestPiece, kLargestPiece)) {
  resumed_ = open_former() && done_bytes_ > 0;
  if (journal_file_.number() < 0) create();
}

PartFile::~PartFile() {
  if (journal_file_.number() < 0) return;
  for (int piece = 0; piece < pieces(); ++piece) {
    if (done_[piece] == written_[piece]) continue;
    try {
      write_journal(piece);
    } catch (const std::exception&) {
      return;  // those bytes are fetched again
    }
  }
}

int64_t PartFile::end(int piece) const {
  return std::min(begin(piece) + piece_bytes_, bytes_);
}

bool PartFile::open_former() {
  std::error_code ignored;
  if (!fs::exists(journal_, ignored)) return false;
  File journal_file(journal_, O_RDWR);
  Header header = {};
  struct stat status = {};
  if (pread(journal_file.number(), &header, sizeof(header), 0) !=
          sizeof(header) ||
      header.magic != kMagic || header.bytes != bytes_ ||
      header.piece_bytes < kSmallestPiece ||
      header.piece_bytes > kLargestPiece) {
    return false;
  }
  if (stat(data_.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size != bytes_) {
    return false;
  }
  std::vector<int64_t> done(
      static_cast<size_t>(ceil_div(bytes_, header.piece_bytes)));
  const auto size = static_cast<ssize_t>(done.size() * sizeof(int64_t));
  if (pread(journal_file.number(), done.data(), static_cast<size_t>(size),
            sizeof(header)) != size) {
    return false;
  }
  for (size_t i = 0; i < done.size(); ++i) {
    const int64_t first = static_cast<int64_t>(i) * header.piece_bytes;
    if (done[i] < 0 || done[i] > std::min(header.piece_bytes, bytes_ - first)) {
      return false;
    }
  }
  piece_bytes_ = header.piece_bytes;
  done_ = std::move(done);
  written_ = done_;
  done_bytes_ = std::accumulate(done_.begin(), done_.end(), int64_t{0});
  data_file_ = File(data_, O_RDWR);
  journal_file_ = std::move(journal_file);
  return true;
}

void PartFile::create() {
  // No journal without its data file: the old one goes first.
  remove();
  data_file_ = File(data_, O_RDWR | O_CREAT | O_TRUNC);
  if (bytes_ > 0) {
    // Where the file system cannot reserve space, it fills up as it goes.
    if (fallocate(data_file_.number(), 0, 0, bytes_) != 0 &&
        (errno == ENOSPC || errno == EDQUOT)) {
      const int error = errno;
      remove();
      throw_file_error(data_, "reserve " + std::to_string(bytes_) + " bytes",
                       error);
    }
    if (ftruncate(data_file_.number(), bytes_) != 0) {
      throw_file_error(data_, "resize", errno);
    }
  }
  done_.assign(static_cast<size_t>(ceil_div(bytes_, piece_bytes_)), 0);
  written_ = done_;
  done_bytes_ = 0;
  std::vector<char> journal(sizeof(Header) + done_.size() * sizeof(int64_t));
  const Header header = {kMagic, bytes_, piece_bytes_};
  std::memcpy(journal.data(), &header, sizeof(header));
  journal_file_ = File(journal_, O_RDWR | O_CREAT | O_TRUNC);
  write_at(journal_file_.number(), journal.data(), journal.size(), 0, journal_);
}

void PartFile::write_journal(int piece) {
  write_at(
      journal_file_.number(), &done_[piece], sizeof(int64_t),
      static_cast<int64_t>(sizeof(Header) + sizeof(int64_t) * size_t(piece)),
      journal_);
  written_[piece] = done_[piece];
}

int64_t PartFile::receive(int64_t offset, std::span<const std::byte> bytes) {
  const int64_t before = done_bytes_;
  while (!bytes.empty()) {
    require(offset >= 0 && offset < bytes_, "bytes after a file's end");
    const int piece = static_cast<int>(offset / piece_bytes_);
    const auto here =
        std::min(static_cast<int64_t>(bytes.size()), end(piece) - offset);
    const int64_t known = next(piece) - offset;
    require(known >= 0, "a gap in a piece");
    if (known < here) {
      append(piece, bytes.subspan(static_cast<size_t>(known),
                                  static_cast<size_t>(here - known)));
    }
    offset += here;
    bytes = bytes.subspan(static_cast<size_t>(here));
  }
  return done_bytes_ - before;
}

void PartFile::append(int piece, std::span<const std::byte> bytes) {
  write_at(data_file_.number(), bytes.data(), bytes.size(), next(piece), data_);
  done_[piece] += static_cast<int64_t>(bytes.size());
  done_bytes_ += static_cast<int64_t>(bytes.size());
  if (done_[piece] - written_[piece] >= kJournalStep ||
      next(piece) == end(piece)) {
    write_journal(piece);
  }
}

void PartFile::restart() {
  for (int piece = 0; piece < pieces(); ++piece) {
    done_[piece] = 0;
    write_journal(piece);
  }
  done_bytes_ = 0;
  resumed_ = false;
}

void PartFile::finish(const fs::path& blob) {
  if (fsync(data_file_.number()) != 0) throw_file_error(data_, "write", errno);
  if (rename(data_.c_str(), blob.c_str()) != 0) {
    throw_file_error(blob, "put it there", errno);
  }
  sync_folder(blob.parent_path());
  remove();
}

void PartFile::remove() {
  journal_file_ = File();
  data_file_ = File();
  unlink(journal_.c_str());
  unlink(data_.c_str());
}

}  // namespace carat
