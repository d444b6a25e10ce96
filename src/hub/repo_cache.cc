#include "hub/repo_cache.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "hub/file_system.h"
#include "hub/paths.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

std::string folder_name(const std::string& model) {
  std::string name = "models--" + model;
  const size_t slash = name.find('/');
  if (slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

/// "../../blobs/<hash>", from where `name` is in a snapshot.
fs::path link_target(const std::string& name, const std::string& hash) {
  std::string target = "../../";
  for (const char c : name) {
    if (c == '/') target += "../";
  }
  return target + "blobs/" + hash;
}

}  // namespace

RepoCache::RepoCache(const fs::path& cache, const std::string& model)
    : folder_(cache / folder_name(model)),
      locks_(cache / ".locks" / folder_name(model)) {}

fs::path RepoCache::blob(const std::string& hash) const {
  return folder_ / "blobs" / hash;
}

fs::path RepoCache::part(const std::string& hash) const {
  return folder_ / "blobs" / (hash + ".carat.part");
}

fs::path RepoCache::journal(const std::string& hash) const {
  return folder_ / "blobs" / (hash + ".carat.journal");
}

fs::path RepoCache::lock(const std::string& name) const {
  return locks_ / (name + ".lock");
}

fs::path RepoCache::snapshot(const std::string& commit) const {
  return folder_ / "snapshots" / commit;
}

void RepoCache::make() const {
  make_folders(folder_ / "blobs");
  make_folders(folder_ / "snapshots");
  make_folders(folder_ / "refs");
  make_folders(locks_);
}

bool RepoCache::has_blob(const RepoFile& file) const {
  std::error_code error;
  const auto bytes = fs::file_size(blob(file.blob), error);
  return !error && bytes == static_cast<uint64_t>(file.bytes);
}

std::optional<std::string> RepoCache::commit_of(
    const std::string& revision) const {
  if (is_commit(revision)) return revision;
  if (!is_safe_path(revision)) return std::nullopt;
  constexpr int64_t kMostBytes = 100;
  std::string commit = read_small_file(folder_ / "refs" / revision, kMostBytes);
  while (!commit.empty() && static_cast<unsigned char>(commit.back()) <= ' ') {
    commit.pop_back();
  }
  if (!is_commit(commit)) return std::nullopt;
  return commit;
}

void RepoCache::link(const std::string& commit, const RepoFile& file) const {
  const fs::path path = snapshot(commit) / file.name;
  const fs::path target = link_target(file.name, file.blob);
  make_folders(path.parent_path());
  if (symlink(target.c_str(), path.c_str()) == 0) {
    sync_folder(path.parent_path());
    return;
  }
  if (errno != EEXIST) throw_file_error(path, "link it", errno);
  std::error_code error;
  const auto status = fs::symlink_status(path, error);
  if (fs::is_symlink(status)) {
    if (fs::read_symlink(path, error) == target) return;
  } else if (fs::is_regular_file(status) &&
             fs::file_size(path, error) == static_cast<uint64_t>(file.bytes)) {
    return;  // a cache without links
  }
  // A rename puts the right one in its place at once.
  const fs::path temporary = folder_ / "blobs" / (file.blob + ".carat.link");
  unlink(temporary.c_str());
  if (symlink(target.c_str(), temporary.c_str()) != 0) {
    throw_file_error(temporary, "link it", errno);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    unlink(temporary.c_str());
    throw_file_error(path, "replace it", reason);
  }
  sync_folder(path.parent_path());
}

void RepoCache::set_ref(const std::string& revision,
                        const std::string& commit) const {
  if (is_commit(revision) || commit_of(revision) == commit) return;
  const fs::path path = folder_ / "refs" / revision;
  make_folders(path.parent_path());
  replace_file(path, folder_ / "blobs" / "ref.carat.part", commit);
}

}  // namespace carat
