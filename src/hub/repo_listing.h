// What the hub says a model's repository holds.
#ifndef CARAT_HUB_REPO_LISTING_H_
#define CARAT_HUB_REPO_LISTING_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

/// A file of a repository. `name` is a safe path (hub/paths.h); `blob` its
/// hash: SHA-256 of large (LFS) files, git's SHA-1 of small ones; empty, and
/// bytes -1, if the hub does not say.
struct RepoFile {
  std::string name;
  int64_t bytes = -1;
  std::string blob;

  bool is_large() const { return blob.size() == 64; }
};

struct RepoListing {
  std::string commit;
  std::vector<RepoFile> files;  ///< names are unique

  const RepoFile* find(std::string_view name) const;
};

/// Parses the answer to /api/models/<model>/revision/<revision>?blobs=true.
/// `subject` names it in messages.
/// Throws: HubError{kProtocol}, Error{kCorrupt}.
RepoListing parse_repo_listing(std::string_view json,
                               const std::string& subject);

}  // namespace carat

#endif  // CARAT_HUB_REPO_LISTING_H_
