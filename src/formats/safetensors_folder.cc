#include "formats/safetensors_folder.h"

#include <set>
#include <system_error>

#include "carat/error.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// A name in the index must stay in the folder (links there may lead out of
/// it: so the hub's cache is made).
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(const fs::path& folder) : path_(folder) {
  if (is_there(folder / kSingleFile)) {
    files_.push_back(std::make_unique<SafetensorsShard>(folder / kSingleFile));
    for (const SafetensorsTensor& tensor : files_[0]->tensors()) {
      tensors_.push_back(&tensor);
    }
  } else if (is_there(folder / kIndexFile)) {
    open_index(folder / kIndexFile);
  } else {
    throw Error(ErrorCode::kNotFound, folder.string() + ": has neither " +
                                          kSingleFile + " nor " + kIndexFile);
  }
  for (const SafetensorsTensor* tensor : tensors_) {
    index_.emplace(tensor->name, tensor);
  }
}

void SafetensorsFolder::open_index(const fs::path& index) {
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorCode::kCorrupt, index.string() + ": " + problem);
  };
  const MappedFile file(index);
  const Json json = parse_json_object(file.bytes(), index.string());
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) {
    fail("weight_map is " + (map == json.end() ? "missing" : json_kind(*map)) +
         ", expected an object");
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      fail("weight_map: the file of " + quote(tensor) + " is " +
           json_kind(shard) + ", expected a string");
    }
    const auto name = shard.get<std::string>();
    if (!is_plain_name(name)) {
      fail("weight_map: " + quote(name) + " is not the name of a file of the " +
           "folder");
    }
    shards[name].insert(tensor);
  }
  for (const auto& [name, wanted] : shards) {
    files_.push_back(std::make_unique<SafetensorsShard>(path_ / name));
    size_t found = 0;
    for (const SafetensorsTensor& tensor : files_.back()->tensors()) {
      if (!wanted.contains(tensor.name)) continue;
      tensors_.push_back(&tensor);
      ++found;
    }
    if (found == wanted.size()) continue;
    for (const std::string& tensor : wanted) {
      if (files_.back()->find(tensor) == nullptr) {
        fail("weight_map: " + quote(tensor) + " is not in " + quote(name));
      }
    }
  }
}

int64_t SafetensorsFolder::bytes() const {
  int64_t total = 0;
  for (const auto& file : files_) total += file->bytes();
  return total;
}

const SafetensorsTensor* SafetensorsFolder::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

bool SafetensorsFolder::has_metadata(std::string_view key,
                                     std::string_view value) const {
  for (const auto& file : files_) {
    const auto found = file->metadata().find(key);
    if (found != file->metadata().end() && found->second == value) return true;
  }
  return false;
}

void SafetensorsFolder::release(std::span<const std::byte> part) const {
  for (const auto& file : files_) file->release(part);
}

}  // namespace carat
