// GGUF files: metadata and tensors, checked against the file's real size.
// Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3.
#ifndef CARAT_FORMATS_GGUF_H_
#define CARAT_FORMATS_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/mapped_file.h"
#include "tensor/raw_tensor.h"

namespace carat {

/// Metadata arrays: strings are views into the mapping.
using GgufArray =
    std::variant<std::vector<int64_t>, std::vector<double>, std::vector<bool>,
                 std::vector<std::string_view>>;

/// One metadata value. Integers widen to int64_t (a u64 beyond its range is
/// refused as corrupt where it is read), floats to double.
using GgufValue =
    std::variant<int64_t, double, bool, std::string_view, GgufArray>;

/// A parsed file, and the owner of its mapping: tensors and strings are views
/// into it. Immutable after construction; thread-safe.
class GgufFile {
 public:
  /// Throws: as MappedFile; Error{kCorrupt} (the message names the file and the
  /// rule that is broken), Error{kUnsupported} (version, tensor type or rank,
  /// nested arrays).
  /// Allocates in proportion to the file's bytes, whatever its counts claim.
  explicit GgufFile(const std::filesystem::path& path);

  /// The same from bytes in memory, which must outlive this object; `name`
  /// stands for the path in messages.
  GgufFile(std::span<const std::byte> bytes, std::string_view name);

  const std::filesystem::path& path() const { return path_; }
  uint32_t version() const { return version_; }

  /// The value of `key`, or nullptr.
  const GgufValue* find(std::string_view key) const;

  /// Typed look-ups: nullopt / nullptr if the key is absent.
  /// Throws: Error{kCorrupt} if the key is there with another type (integers
  /// are accepted where a float is asked for, not the other way round).
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  const std::vector<std::string_view>* find_strings(std::string_view key) const;
  const std::vector<double>* find_floats(std::string_view key) const;
  const std::vector<int64_t>* find_ints(std::string_view key) const;

  const std::map<std::string, GgufValue, std::less<>>& metadata() const {
    return metadata_;
  }

  /// The bytes of each pair's value, its type before it, as they lie in the
  /// file: what GgufFileWriter::add_raw takes.
  const std::map<std::string, std::span<const std::byte>, std::less<>>&
  raw_metadata() const {
    return raw_metadata_;
  }

  /// In file order.
  const std::vector<RawTensor>& tensors() const { return tensors_; }
  /// The tensor called `name`, or nullptr.
  const RawTensor* find_tensor(std::string_view name) const;
  /// See MappedFile::release.
  void release(const RawTensor& tensor) const { file_.release(tensor.data); }

 private:
  void parse(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  MappedFile file_;
  uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, std::span<const std::byte>, std::less<>> raw_metadata_;
  std::vector<RawTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace carat

#endif  // CARAT_FORMATS_GGUF_H_
