// Safetensors files: a JSON header that names tensors, then their bytes.
// Source: the safetensors format (huggingface/safetensors, README and
// safetensors/src/tensor.rs, 0.6).
#ifndef CARAT_FORMATS_SAFETENSORS_H_
#define CARAT_FORMATS_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/mapped_file.h"

namespace carat {

/// A named tensor as the file holds it: any type, any number of dimensions.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;           ///< "BF16", as the file spells it
  std::vector<int64_t> shape;  ///< outermost first; each >= 0
  std::span<const std::byte> data;
};

/// A parsed file, all of a model's tensors or a part of them, and the owner of
/// its mapping: tensors are views into it.
/// Immutable after construction; thread-safe.
class SafetensorsShard {
 public:
  /// Every rule of the format is checked: a header of at most 100 MB that is a
  /// JSON object in UTF-8 without duplicate keys; types known; sizes as type
  /// and shape say; tensors that follow each other without gaps and cover the
  /// rest of the file.
  /// Throws: as MappedFile; Error{kCorrupt} (the message names the file and the
  /// rule that is broken), Error{kUnsupported} (a type).
  explicit SafetensorsShard(const std::filesystem::path& path);

  /// The same from bytes in memory, which must outlive this object; `name`
  /// stands for the path in messages.
  SafetensorsShard(std::span<const std::byte> bytes, std::string_view name);

  const std::filesystem::path& path() const { return path_; }
  int64_t bytes() const { return bytes_; }

  /// In the order of their bytes.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  /// The tensor called `name`, or nullptr.
  const SafetensorsTensor* find(std::string_view name) const;
  /// The header's `__metadata__`.
  const std::map<std::string, std::string, std::less<>>& metadata() const {
    return metadata_;
  }
  /// See MappedFile::release.
  void release(std::span<const std::byte> part) const { file_.release(part); }

 private:
  void parse(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  MappedFile file_;
  int64_t bytes_ = 0;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string_view, size_t> index_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

/// Bits of one number of a type, or 0 if the format has no such type.
int safetensors_type_bits(std::string_view dtype);

}  // namespace carat

#endif  // CARAT_FORMATS_SAFETENSORS_H_
