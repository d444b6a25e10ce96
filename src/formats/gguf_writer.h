// Writes GGUF files: metadata, tensor table, then the tensors' bytes as they
// come, so that a file may be far larger than memory.
// Source: the GGUF specification (ggml, docs/gguf.md), version 3.
#ifndef CARAT_FORMATS_GGUF_WRITER_H_
#define CARAT_FORMATS_GGUF_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "formats/pending_output.h"
#include "tensor/encoding.h"

namespace carat {

/// One file in the making. Call order: add() and add_tensor() in any order,
/// write() until every tensor has its bytes, finish(), which puts the whole
/// file in the place of `path` (PendingFile); without it `path` stays as it
/// was. Not thread-safe.
class GgufFileWriter {
 public:
  /// Nothing is opened before the first write(). `alignment` of tensor data: a
  /// power of two of at least 8. Without `replace`, a file that is there stays.
  /// Throws: Error{kInvalidArgument}.
  explicit GgufFileWriter(std::filesystem::path path, uint32_t alignment = 32,
                          bool replace = true);
  GgufFileWriter(const GgufFileWriter&) = delete;
  GgufFileWriter& operator=(const GgufFileWriter&) = delete;

  /// One metadata pair. The file's value type is that of T itself: readers ask
  /// for counts as uint32_t, token types as int32_t, scores as float.
  /// Throws: Error{kInvalidArgument} if the key is empty, longer than 65,535
  /// bytes or there already.
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(std::string_view key, T value) {
    begin_pair(key, type_number<T>());
    put(pairs_, value);
  }
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) {
    add(key, std::string_view(value));
  }

  /// An array; bool is not supported. Throws: as add.
  template <class T>
  requires std::is_arithmetic_v<T>
  void add_array(std::string_view key, std::span<const T> values) {
    begin_array(key, type_number<T>(), values.size());
    append(pairs_, values.data(), values.size_bytes());
  }
  void add_array(std::string_view key,
                 std::span<const std::string_view> values);

  /// A pair as it lies in another GGUF file, from its value's type on.
  /// Throws: as add.
  void add_raw(std::string_view key, std::span<const std::byte> type_and_value);

  /// The next tensor; its bytes are write()'s business. `shape` outermost
  /// first, one or two dimensions, rows of whole blocks.
  /// Throws: Error{kInvalidArgument} for a bad shape or a name that is empty,
  /// longer than 63 bytes (ggml's limit) or there already.
  void add_tensor(std::string_view name, Encoding encoding,
                  std::span<const int64_t> shape);

  /// Bytes of all tensors added so far, without padding.
  int64_t tensor_bytes() const { return tensor_bytes_; }

  /// More bytes of the tensors, in the order they were added: a piece may end
  /// within a tensor or run on into the next ones. The first call fixes
  /// metadata and table. Throws: Error{kInvalidArgument} if these are more
  /// bytes than the tensors have, or the file can't be written.
  void write(std::span<const std::byte> bytes);

  /// Puts the file in its place, as PendingFile::commit.
  /// Throws: Error{kInvalidArgument} if tensors lack bytes, or the file can't
  /// be written.
  void finish();

 private:
  struct Tensor {
    std::string name;
    Encoding encoding;
    std::vector<int64_t> shape;
    uint64_t bytes;
  };

  template <class T>
  static constexpr uint32_t type_number() {
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, double>) return 12;
    constexpr uint32_t kSigned = std::is_signed_v<T> ? 1 : 0;
    if constexpr (sizeof(T) == 1) return 0 + kSigned;
    if constexpr (sizeof(T) == 2) return 2 + kSigned;
    if constexpr (sizeof(T) == 4) return 4 + kSigned;
    return 10 + kSigned;
  }

  template <class T>
  static void put(std::string& to, T value) {
    append(to, &value, sizeof(value));
  }
  static void append(std::string& to, const void* from, size_t size);
  static void put_string(std::string& to, std::string_view text);

  [[noreturn]] void fail(const std::string& problem) const;
  void begin_key(std::string_view key);
  void begin_pair(std::string_view key, uint32_t type);
  void begin_array(std::string_view key, uint32_t type, size_t count);
  uint64_t padding(uint64_t bytes) const;
  void open();
  void write_raw(const char* bytes, size_t size);
  void write_zeros(uint64_t size);

  PendingFile file_;
  uint32_t alignment_;
  std::string pairs_;
  std::set<std::string, std::less<>> keys_;
  std::vector<Tensor> tensors_;
  std::set<std::string, std::less<>> names_;
  int64_t tensor_bytes_ = 0;
  bool opened_ = false;
  size_t current_ = 0;          // the tensor being written
  uint64_t current_bytes_ = 0;  // of it, already written
};

}  // namespace carat

#endif  // CARAT_FORMATS_GGUF_WRITER_H_
