// Writes safetensors files: a header, then the tensors' bytes as they come, so
// that a file may be far larger than memory.
// Source: the safetensors format (huggingface/safetensors, README).
#ifndef CARAT_FORMATS_SAFETENSORS_WRITER_H_
#define CARAT_FORMATS_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/pending_output.h"

namespace carat {

/// One file in the making. Call order: add_tensor() for all, write() until each
/// has its bytes, finish(), which puts the whole file in its place
/// (PendingFile). Not thread-safe.
class SafetensorsWriter {
 public:
  /// `format` goes into `__metadata__`: "mlx" or "pt".
  SafetensorsWriter(std::filesystem::path path, std::string_view format);

  /// The next tensor; its bytes are write()'s business. `dtype` as the format
  /// spells it. Throws: Error{kInvalidArgument} for an unknown type, a negative
  /// size or a name that is there already.
  void add_tensor(std::string_view name, std::string_view dtype,
                  std::span<const int64_t> shape);

  /// Bytes of all tensors added so far.
  int64_t tensor_bytes() const { return tensor_bytes_; }

  /// More bytes of the tensors, in the order they were added, however cut up.
  /// Throws: Error{kInvalidArgument} if these are more than the tensors have,
  /// or the file can't be written.
  void write(std::span<const std::byte> bytes);

  /// Throws: Error{kInvalidArgument} if tensors lack bytes, or the file can't
  /// be written.
  void finish();

 private:
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
    int64_t bytes;
  };

  [[noreturn]] void fail(const std::string& problem) const;
  void open();
  void write_raw(const void* bytes, size_t size);

  PendingFile file_;
  std::string format_;
  std::vector<Tensor> tensors_;
  std::set<std::string, std::less<>> names_;
  int64_t tensor_bytes_ = 0;
  int64_t written_ = 0;  // of them
  bool opened_ = false;
};

}  // namespace carat

#endif  // CARAT_FORMATS_SAFETENSORS_WRITER_H_
