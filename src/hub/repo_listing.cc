#include "hub/repo_listing.h"

#include <set>
#include <span>

#include "carat/hub.h"
#include "formats/json.h"
#include "formats/quote.h"
#include "hub/paths.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLargestFile = int64_t{1} << 50;

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

class Parser {
 public:
  explicit Parser(const std::string& subject) : subject_(subject) {}

  RepoListing parse(const Json& root) const {
    RepoListing listing;
    listing.commit = text(root, "sha");
    if (!is_commit(listing.commit)) {
      fail("sha is " + quote(listing.commit) + ", expected a commit");
    }
    const Json* files = member(root, "siblings");
    if (files == nullptr || !files->is_array()) fail("siblings is no list");
    std::set<std::string_view> seen;
    listing.files.reserve(files->size());
    for (const Json& file : *files) {
      if (!file.is_object()) fail("a file is " + json_kind(file));
      listing.files.push_back(parse_file(file));
      if (!seen.insert(listing.files.back().name).second) {
        fail("lists " + quote(listing.files.back().name) + " twice");
      }
    }
    return listing;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw HubError(HubProblem::kProtocol, subject_ + ": " + problem);
  }

  std::string text(const Json& object, const char* key) const {
    const Json* value = member(object, key);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      fail(std::string(key) + " is " + json_kind(*value) +
           ", expected a string");
    }
    return value->get<std::string>();
  }

  int64_t size(const Json& object, const std::string& name) const {
    const Json* value = member(object, "size");
    if (value == nullptr) return -1;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > kLargestFile) {
      fail(quote(name) + " has a size of " + value->dump().substr(0, 40));
    }
    return value->get<int64_t>();
  }

  RepoFile parse_file(const Json& object) const {
    RepoFile file;
    file.name = text(object, "rfilename");
    if (!is_safe_path(file.name)) {
      fail("lists " + quote(file.name) + ", which is no file of a folder");
    }
    if (const Json* lfs = member(object, "lfs"); lfs != nullptr) {
      if (!lfs->is_object()) fail("lfs is " + json_kind(*lfs));
      file.blob = text(*lfs, "sha256");
      if (file.blob.empty()) file.blob = text(*lfs, "oid");
      file.bytes = size(*lfs, file.name);
      check_hash(file, 64);
    } else {
      file.blob = text(object, "blobId");
      file.bytes = size(object, file.name);
      check_hash(file, 40);
    }
    return file;
  }

  void check_hash(const RepoFile& file, size_t length) const {
    if (file.blob.empty() || is_hex(file.blob, length)) return;
    fail(quote(file.name) + " has the hash " + quote(file.blob));
  }

  const std::string& subject_;
};

}  // namespace

const RepoFile* RepoListing::find(std::string_view name) const {
  for (const RepoFile& file : files) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

RepoListing parse_repo_listing(std::string_view json,
                               const std::string& subject) {
  return Parser(subject).parse(parse_json_object(
      std::as_bytes(std::span(json.data(), json.size())), subject));
}

}  // namespace carat
