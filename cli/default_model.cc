#include "cli/default_model.h"

#include <cstdlib>

#include "carat/error.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

namespace fs = std::filesystem;

// The XDG base directory specification says to ignore relative paths.
fs::path cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return cache;
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/") / ".cache";
}

}  // namespace

fs::path default_model_path() {
  return cache_folder() / "carat" / "gemma-3-270m-q4_k_m.gguf";
}

fs::path resolve_model(const std::string& given) {
  if (!given.empty()) return given;
  fs::path path = default_model_path();
  std::error_code ignored;
  if (fs::exists(path, ignored)) return path;
  throw Error(ErrorCode::kNotFound,
              fmt::format("no --model given, and the default model is not at "
                          "{}; ./demo.sh or scripts/fetch_model.py fetches it",
                          path.string()));
}

}  // namespace carat::cli
