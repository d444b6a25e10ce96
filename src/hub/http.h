// One HTTP request to the hub, on libcurl.
#ifndef CARAT_HUB_HTTP_H_
#define CARAT_HUB_HTTP_H_

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "carat/hub.h"

namespace carat {

/// Bytes [begin, end) of a file.
struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// What the headers said. Those of the last answer, but for `commit` and
/// `linked_etag`, which the hub sends with a redirection.
struct ResponseHead {
  int status = 0;
  std::optional<int64_t> content_length;
  std::string content_range;
  std::string commit;         ///< X-Repo-Commit
  std::string linked_etag;    ///< X-Linked-Etag, without quotes
  std::string error_code;     ///< X-Error-Code: "GatedRepo", ...
  std::string error_message;  ///< X-Error-Message
  std::chrono::milliseconds retry_after{0};
};

/// A GET that follows redirections (5 at most, never from HTTPS to HTTP) and
/// sends the token to the endpoint's own host and port only. Not thread-safe.
class HttpRequest {
 public:
  /// Receives the body of a 2xx answer; may throw: the transfer then ends, and
  /// rethrow() throws the same. Not called for other answers.
  using Sink =
      std::function<void(const ResponseHead&, std::span<const std::byte>)>;

  HttpRequest(const HubOptions& options, const std::string& url, Sink sink,
              std::optional<ByteRange> range = std::nullopt);
  HttpRequest(const HttpRequest&) = delete;
  HttpRequest& operator=(const HttpRequest&) = delete;

  CURL* handle() const { return handle_.get(); }
  const ResponseHead& head() const { return head_; }

  /// Throws what the sink threw, if it did.
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

  /// Did another host than the endpoint's answer?
  bool was_redirected_away() const;

  /// Is it worth trying again?
  bool is_temporary(CURLcode result) const;

  /// What went wrong, for people; empty: nothing. `result` is the transfer's.
  std::string problem(CURLcode result) const;

 private:
  static size_t on_header(char* text, size_t size, size_t count, void* self);
  static size_t on_body(char* bytes, size_t size, size_t count, void* self);
  void read_header(std::string_view line);

  std::string host_;
  Sink sink_;
  ResponseHead head_;
  std::exception_ptr thrown_;
  std::array<char, CURL_ERROR_SIZE> error_text_ = {};
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers_;
  std::unique_ptr<CURL, void (*)(CURL*)> handle_;
};

/// Sets libcurl up, once. Throws: std::runtime_error.
void start_libcurl();

/// "https://huggingface.co" of what a user calls the endpoint.
/// Throws: Error{kInvalidArgument} unless it is a http or https URL.
std::string clean_endpoint(const std::string& endpoint);

/// "huggingface.co", "127.0.0.1:8080" of a URL.
std::string host_of(const std::string& url);

/// `url` without the "user:password@" of its host: for people to see.
std::string without_user(const std::string& url);

/// `text` with all but letters, digits and "-._~" as %XX; slashes, too, if
/// `slashes`.
std::string url_escaped(std::string_view text, bool slashes);

/// How long to wait before the `attempt`th (from 1) try again.
std::chrono::milliseconds retry_wait(const HubOptions& options, int attempt,
                                     const ResponseHead& head);

}  // namespace carat

#endif  // CARAT_HUB_HTTP_H_
