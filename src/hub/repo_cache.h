// One model's folder in the hub's cache.
#ifndef CARAT_HUB_REPO_CACHE_H_
#define CARAT_HUB_REPO_CACHE_H_

#include <filesystem>
#include <optional>
#include <string>

#include "hub/repo_listing.h"

namespace carat {

/// Where things are:
///     <cache>/models--org--name/blobs/<hash>               the bytes
///     <cache>/models--org--name/snapshots/<commit>/<file>  links to blobs
///     <cache>/models--org--name/refs/<revision>            a commit
///     <cache>/.locks/models--org--name/<hash>.lock
/// Names ending in ".carat.*" beside the blobs are carat's own.
/// Source: huggingface_hub, "Understand caching".
class RepoCache {
 public:
  RepoCache(const std::filesystem::path& cache, const std::string& model);

  std::filesystem::path blob(const std::string& hash) const;
  std::filesystem::path part(const std::string& hash) const;
  std::filesystem::path journal(const std::string& hash) const;
  std::filesystem::path lock(const std::string& name) const;
  std::filesystem::path snapshot(const std::string& commit) const;
  const std::filesystem::path& folder() const { return folder_; }

  /// Makes the folders that files are put in.
  void make() const;

  /// Is the blob there, with its length?
  bool has_blob(const RepoFile& file) const;

  /// The commit that `revision` stood for at the last pull, or is itself.
  std::optional<std::string> commit_of(const std::string& revision) const;

  /// Links the file's blob into the commit's snapshot, unless it is there.
  void link(const std::string& commit, const RepoFile& file) const;

  /// Remembers what `revision` stands for; nothing if it is a commit.
  void set_ref(const std::string& revision, const std::string& commit) const;

 private:
  std::filesystem::path folder_;
  std::filesystem::path locks_;
};

}  // namespace carat

#endif  // CARAT_HUB_REPO_CACHE_H_
