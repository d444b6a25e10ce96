#include "cli/default_model.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

#include "carat/error.h"
#include "cli/hub_environment.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/pull.h"
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

/// What only a path would look like is left to those who open it.
std::optional<HubName> as_hub_name(const std::string& given) {
  const bool is_file = given.find(':') == std::string::npos &&
                       (given.ends_with(".gguf") || given.ends_with(".json") ||
                        given.ends_with(".safetensors"));
  if (is_file || given.find('/') == std::string::npos) return std::nullopt;
  try {
    HubName name = parse_hub_name(given);
    if (name.model.find('/') == std::string::npos) return std::nullopt;
    return name;
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool person_agrees(const std::string& question) {
  if (isatty(STDIN_FILENO) != 1 || !stderr_is_terminal()) return false;
  fmt::print(stderr, "{} (y/N) ", question);
  std::fflush(stderr);
  const int answer = std::getchar();
  for (int c = answer; c != '\n' && c != EOF;) c = std::getchar();
  return answer == 'y' || answer == 'Y';
}

fs::path resolve_given(const std::string& given) {
  std::error_code ignored;
  if (fs::exists(given, ignored)) return given;
  const std::optional<HubName> name = as_hub_name(given);
  if (!name) return given;
  const fs::path cache = hub_cache();
  if (auto path = find_pulled_model(*name, cache)) return *path;
  const std::string absent =
      fmt::format("{}: there is no such path, and no such model in {}", given,
                  cache.string());
  if (!hub_is_offline() &&
      person_agrees(fmt::format("{}. Pull it from the hub?", absent))) {
    watch_interrupts();
    return pull_with_progress(*name, hub_options()).path;
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}; carat pull {} fetches it", absent, given));
}

}  // namespace

fs::path default_model_path() {
  return cache_folder() / "carat" / "gemma-3-270m-q4_k_m.gguf";
}

fs::path resolve_model(const std::string& given) {
  if (!given.empty()) return resolve_given(given);
  fs::path path = default_model_path();
  std::error_code ignored;
  if (fs::exists(path, ignored)) return path;
  throw Error(ErrorCode::kNotFound,
              fmt::format("no --model given, and the default model is not at "
                          "{}; ./demo.sh or scripts/fetch_model.py fetches it",
                          path.string()));
}

}  // namespace carat::cli
