#include "hub/http.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <utility>

#include "formats/quote.h"

namespace carat {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower(c);
  return result;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [stop, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size() || value < 0) {
    return std::nullopt;
  }
  return value;
}

/// W/"abc" -> abc
std::string plain_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

template <typename Value>
void set(CURL* handle, CURLoption option, Value value) {
  if (curl_easy_setopt(handle, option, value) != CURLE_OK) {
    throw std::runtime_error("libcurl refuses option " +
                             std::to_string(option));
  }
}

}  // namespace

void start_libcurl() {
  static const CURLcode status = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (status != CURLE_OK) throw std::runtime_error("libcurl does not start");
}

std::string clean_endpoint(const std::string& endpoint) {
  std::string url = endpoint;
  while (!url.empty() && url.back() == '/') url.pop_back();
  const std::string folded = lower(url);
  const bool has_scheme =
      folded.starts_with("https://") || folded.starts_with("http://");
  const bool clean = std::all_of(url.begin(), url.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f;
  });
  if (!has_scheme || !clean || host_of(url).empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the hub's address is " + quote(without_user(endpoint)) +
                    "; expected one such as https://huggingface.co");
  }
  return url;
}

std::string without_user(const std::string& url) {
  const size_t scheme = url.find("://");
  const size_t first = scheme == url.npos ? 0 : scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#", first), url.size());
  const size_t at = url.substr(0, end).rfind('@');
  if (at == url.npos || at < first) return url;
  return url.substr(0, first) + url.substr(at + 1);
}

std::string host_of(const std::string& url) {
  const std::string plain = without_user(url);
  const size_t scheme = plain.find("://");
  const size_t first = scheme == plain.npos ? 0 : scheme + 3;
  return lower(plain.substr(first, plain.find_first_of("/?#", first) - first));
}

std::string url_escaped(std::string_view text, bool slashes) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                       c == '_' || c == '~' || (c == '/' && !slashes);
    if (plain) {
      result += c;
    } else {
      result += '%';
      result += kDigits[byte >> 4];
      result += kDigits[byte & 15];
    }
  }
  return result;
}

std::chrono::milliseconds retry_wait(const HubOptions& options, int attempt,
                                     const ResponseHead& head) {
  constexpr std::chrono::milliseconds kLongest{60000};
  const int doublings = std::min(attempt - 1, 6);
  return std::min(
      std::max(options.retry_delay * (1 << doublings), head.retry_after),
      kLongest);
}

HttpRequest::HttpRequest(const HubOptions& options, const std::string& url,
                         Sink sink, std::optional<ByteRange> range)
    : host_(host_of(options.endpoint)),
      sink_(std::move(sink)),
      headers_(nullptr, curl_slist_free_all),
      handle_(curl_easy_init(), curl_easy_cleanup) {
  if (!handle_) throw std::runtime_error("libcurl is out of memory");
  CURL* handle = handle_.get();
  const auto add_header = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
    if (longer == nullptr) throw std::runtime_error("libcurl: out of memory");
    static_cast<void>(headers_.release());
    headers_.reset(longer);
  };
  const bool secure = lower(url).starts_with("https:");
  set(handle, CURLOPT_URL, url.c_str());
  set(handle, CURLOPT_USERAGENT, "carat");
  set(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_FAILONERROR, 1L);
  set(handle, CURLOPT_FOLLOWLOCATION, 1L);
  set(handle, CURLOPT_MAXREDIRS, 5L);
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  set(handle, CURLOPT_CONNECTTIMEOUT,
      std::min<long>(long(options.stall_time.count()), 30L));
  set(handle, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  set(handle, CURLOPT_LOW_SPEED_TIME, long(options.stall_time.count()));
  set(handle, CURLOPT_ERRORBUFFER, error_text_.data());
  // Set even where empty: libcurl would else ask the environment.
  set(handle, CURLOPT_PROXY, options.proxy.c_str());
  set(handle, CURLOPT_NOPROXY, options.no_proxy.c_str());
  if (!options.ca_bundle.empty()) {
    set(handle, CURLOPT_CAINFO, options.ca_bundle.c_str());
  }
  if (!options.token.empty()) {
    // libcurl keeps a header of this name from other hosts and ports.
    add_header("Authorization: Bearer " + options.token);
  }
  if (headers_) set(handle, CURLOPT_HTTPHEADER, headers_.get());
  if (range) {
    const std::string text =
        std::to_string(range->begin) + "-" + std::to_string(range->end - 1);
    set(handle, CURLOPT_RANGE, text.c_str());
  }
  set(handle, CURLOPT_HEADERFUNCTION, &HttpRequest::on_header);
  set(handle, CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(handle, CURLOPT_WRITEFUNCTION, &HttpRequest::on_body);
  set(handle, CURLOPT_WRITEDATA, static_cast<void*>(this));
}

size_t HttpRequest::on_header(char* text, size_t size, size_t count,
                              void* self) {
  try {
    static_cast<HttpRequest*>(self)->read_header({text, size * count});
    return size * count;
  } catch (...) {
    static_cast<HttpRequest*>(self)->thrown_ = std::current_exception();
    return 0;
  }
}

void HttpRequest::read_header(std::string_view line) {
  if (line.starts_with("HTTP/")) {
    ResponseHead next;
    next.commit = std::move(head_.commit);
    next.linked_etag = std::move(head_.linked_etag);
    const size_t space = line.find(' ');
    if (space != line.npos) {
      next.status =
          static_cast<int>(number(line.substr(space + 1, 3)).value_or(0));
    }
    head_ = std::move(next);
    return;
  }
  const size_t colon = line.find(':');
  if (colon == line.npos) return;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  // Only the hub's own word counts for these, not that of a host behind it.
  if (name == "content-length") {
    head_.content_length = number(value);
  } else if (name == "content-range") {
    head_.content_range = value;
  } else if (name == "x-repo-commit" && head_.commit.empty()) {
    head_.commit = value;
  } else if (name == "x-linked-etag" && head_.linked_etag.empty()) {
    head_.linked_etag = plain_etag(value);
  } else if (name == "x-error-code") {
    head_.error_code = value;
  } else if (name == "x-error-message") {
    head_.error_message = value;
  } else if (name == "retry-after") {
    const int64_t seconds = std::min<int64_t>(number(value).value_or(0), 3600);
    head_.retry_after = std::chrono::seconds(seconds);
  }
}

size_t HttpRequest::on_body(char* bytes, size_t size, size_t count,
                            void* self) {
  auto* request = static_cast<HttpRequest*>(self);
  const int status = request->head_.status;
  if (status < 200 || status > 299) return size * count;
  try {
    request->sink_(request->head_,
                   std::as_bytes(std::span(bytes, size * count)));
    return size * count;
  } catch (...) {
    request->thrown_ = std::current_exception();
    return 0;
  }
}

bool HttpRequest::was_redirected_away() const {
  char* url = nullptr;
  curl_easy_getinfo(handle_.get(), CURLINFO_EFFECTIVE_URL, &url);
  return url != nullptr && host_of(url) != host_;
}

bool HttpRequest::is_temporary(CURLcode result) const {
  const int status = head_.status;
  switch (result) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
      return true;
    case CURLE_HTTP_RETURNED_ERROR:
      // A host behind the hub refuses links that are too old.
      return status == 408 || status == 429 || status >= 500 ||
             ((status == 401 || status == 403) && was_redirected_away());
    default:
      return false;
  }
}

std::string HttpRequest::problem(CURLcode result) const {
  if (result == CURLE_OK) {
    if (head_.status >= 200 && head_.status <= 299) return {};
    return "answered " + std::to_string(head_.status);
  }
  if (result == CURLE_HTTP_RETURNED_ERROR) {
    std::string text = "answered " + std::to_string(head_.status);
    if (!head_.error_message.empty()) text += ", " + quote(head_.error_message);
    return text;
  }
  if (result == CURLE_PARTIAL_FILE) return "the connection was cut";
  const std::string text(error_text_.data());
  return text.empty() ? curl_easy_strerror(result) : text;
}

}  // namespace carat
