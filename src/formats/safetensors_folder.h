// The weights of a model folder: model.safetensors, or the shards that
// model.safetensors.index.json names.
#ifndef CARAT_FORMATS_SAFETENSORS_FOLDER_H_
#define CARAT_FORMATS_SAFETENSORS_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace carat {

/// All files of one model, as one set of tensors. Owns the mappings. Immutable
/// after construction; thread-safe.
class SafetensorsFolder {
 public:
  /// model.safetensors is taken where it is there, the index otherwise.
  /// Throws: as SafetensorsShard; Error{kNotFound} if neither or a shard is not
  /// there, Error{kCorrupt} for a broken index or one that names other than
  /// plain files of the folder, or a tensor that is not in its shard.
  explicit SafetensorsFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }
  size_t files() const { return files_.size(); }
  /// Of all files.
  int64_t bytes() const;
  /// In the order of the files and their bytes.
  const std::vector<const SafetensorsTensor*>& tensors() const {
    return tensors_;
  }
  /// The tensor called `name`, or nullptr.
  const SafetensorsTensor* find(std::string_view name) const;
  /// Whether a file's metadata has `key` with this value.
  bool has_metadata(std::string_view key, std::string_view value) const;
  /// See MappedFile::release; `part` may lie in any file.
  void release(std::span<const std::byte> part) const;

 private:
  void open_index(const std::filesystem::path& index);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<SafetensorsShard>> files_;
  std::vector<const SafetensorsTensor*> tensors_;
  std::map<std::string_view, const SafetensorsTensor*> index_;
};

}  // namespace carat

#endif  // CARAT_FORMATS_SAFETENSORS_FOLDER_H_
