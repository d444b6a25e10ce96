#include "cli/hub_environment.h"

#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>

namespace carat::cli {
namespace {

namespace fs = std::filesystem;

std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return {};
}

fs::path hub_home() {
  if (const std::string home = variable({"HF_HOME"}); !home.empty()) {
    return home;
  }
  const std::string cache = variable({"XDG_CACHE_HOME"});
  if (!cache.empty()) return fs::path(cache) / "huggingface";
  const std::string home = variable({"HOME"});
  return fs::path(home.empty() ? "/" : home) / ".cache" / "huggingface";
}

std::string token() {
  std::string text = variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  if (text.empty()) {
    const std::string path = variable({"HF_TOKEN_PATH"});
    std::ifstream file(path.empty() ? hub_home() / "token" : fs::path(path));
    std::getline(file, text);
  }
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace

fs::path hub_cache() {
  const std::string cache = variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  return cache.empty() ? hub_home() / "hub" : fs::path(cache);
}

HubOptions hub_options() {
  HubOptions options;
  options.cache = hub_cache();
  const std::string endpoint = variable({"HF_ENDPOINT"});
  if (!endpoint.empty()) options.endpoint = endpoint;
  options.token = token();
  // HTTP_PROXY in capitals may come from a request to a CGI program.
  options.proxy =
      options.endpoint.starts_with("https:")
          ? variable({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
          : variable({"http_proxy", "all_proxy", "ALL_PROXY"});
  options.no_proxy = variable({"no_proxy", "NO_PROXY"});
  options.ca_bundle =
      variable({"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"});
  return options;
}

bool hub_is_offline() {
  std::string value = variable({"HF_HUB_OFFLINE"});
  for (char& c : value) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

}  // namespace carat::cli
