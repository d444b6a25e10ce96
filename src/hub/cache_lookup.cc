// What is in the cache already: no network here.
#include <algorithm>
#include <system_error>

#include "carat/hub.h"
#include "hub/file_choice.h"
#include "hub/file_system.h"
#include "hub/model_name.h"
#include "hub/repo_cache.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestIndex = int64_t{64} << 20;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// Links come in an order that ends with the weights: with them, all is there
/// that carat fetched. Other tools may have fetched less.
bool is_complete_folder(const fs::path& folder) {
  if (!is_there(folder / "config.json")) return false;
  if (!is_there(folder / "tokenizer.json") &&
      !is_there(folder / "tokenizer.model")) {
    return false;
  }
  if (is_there(folder / kSingleWeights)) return true;
  const fs::path index = folder / kWeightsIndex;
  if (!is_there(index)) return false;
  const std::vector<std::string> names =
      indexed_files(read_small_file(index, kLargestIndex), index.string());
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return is_there(folder / name);
  });
}

std::vector<std::string> gguf_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end;
       !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".gguf" && is_there(at->path())) {
      names.push_back(at->path().lexically_relative(folder).string());
    }
  }
  return names;
}

}  // namespace

std::optional<fs::path> find_pulled_model(const HubName& name,
                                          const fs::path& cache) {
  check_hub_name(name);
  const RepoCache repo(cache, name.model);
  const std::optional<std::string> commit = repo.commit_of(name.revision);
  if (!commit) return std::nullopt;
  const fs::path folder = repo.snapshot(*commit);
  if (name.file.empty() && is_complete_folder(folder)) return folder;
  const std::vector<std::string> names = gguf_files(folder);
  if (names.empty()) return std::nullopt;
  try {
    return folder /
           choose_gguf(names, name.file, name.model, GgufReading::kWhole);
  } catch (const HubError& error) {
    if (error.problem() == HubProblem::kNotFound) return std::nullopt;
    throw;
  }
}

}  // namespace carat
