// A download that is not finished, and the journal that survives its process.
#ifndef CARAT_HUB_PART_FILE_H_
#define CARAT_HUB_PART_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "hub/file_system.h"

namespace carat {

/// A file of known size that arrives in pieces, each from its start to its end,
/// several at a time. Beside the data, which is allocated at once, lies a
/// journal: how many bytes of each piece are there. Data is written before the
/// journal counts it, so a process may be killed at any point and the next one
/// goes on from the journal. (After a crash of the machine the journal may
/// claim bytes that never reached the disk; the blob's hash then tells.)
///
/// Not huggingface_hub's "<blob>.incomplete": of that, other tools take the
/// length for what is there.
class PartFile {
 public:
  /// Opens what a former process left at `data` and `journal`, or begins anew
  /// if there is nothing or it does not fit. One process at a time.
  /// `connections` suggests how many pieces are wanted.
  /// Throws: HubError{kDiskFull}, Error{kNotFound}.
  PartFile(std::filesystem::path data, std::filesystem::path journal,
           int64_t bytes, int connections);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t bytes() const { return bytes_; }
  int pieces() const { return static_cast<int>(done_.size()); }
  int64_t begin(int piece) const { return piece * piece_bytes_; }
  int64_t end(int piece) const;
  /// Where the piece's missing bytes start; end(piece) if none.
  int64_t next(int piece) const { return begin(piece) + done_[piece]; }
  int64_t done_bytes() const { return done_bytes_; }
  bool complete() const { return done_bytes_ == bytes_; }
  /// Did bytes come from a former process?
  bool resumed() const { return resumed_; }
  int file() const { return data_file_.number(); }

  /// Takes bytes at `offset`, which is at most next() of the piece it is in;
  /// those that are there already are dropped. Returns how many were new.
  /// Throws: HubError{kDiskFull}, Error{kNotFound}.
  int64_t receive(int64_t offset, std::span<const std::byte> bytes);

  /// Forgets all bytes.
  void restart();
  /// Makes the complete file `blob`, durably, and removes the journal.
  void finish(const std::filesystem::path& blob);
  /// Removes both files; nothing may be received afterwards.
  void remove();

 private:
  bool open_former();
  void create();
  void write_journal(int piece);
  void append(int piece, std::span<const std::byte> bytes);

  std::filesystem::path data_;
  std::filesystem::path journal_;
  int64_t bytes_;
  int64_t piece_bytes_;
  File data_file_;
  File journal_file_;
  std::vector<int64_t> done_;
  std::vector<int64_t> written_;  // what the journal says
  int64_t done_bytes_ = 0;
  bool resumed_ = false;
};

}  // namespace carat

#endif  // CARAT_HUB_PART_FILE_H_
