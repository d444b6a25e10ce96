#include "hub/download.h"

#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "formats/quote.h"

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

/// A server that closes after every few bytes makes no progress that counts.
constexpr int64_t kProgressBytes = int64_t{1} << 20;

/// One request under way: a piece's rest, or the whole file as a stream.
struct Transfer {
  int piece = 0;
  ByteRange range;
  int64_t offset = 0;  ///< of the next byte that comes
  std::unique_ptr<HttpRequest> request;
};

/// How a piece fares.
struct Piece {
  bool busy = false;
  int failures = 0;   ///< in a row
  int64_t since = 0;  ///< next() at the last failure that counted
  Clock::time_point wait_until;
};

class Download {
 public:
  Download(const DownloadSource& source, const RepoFile& file,
           const HubOptions& options, PullMonitor& monitor, PartFile& part)
      : source_(source),
        file_(file),
        options_(options),
        monitor_(monitor),
        part_(part),
        pieces_(static_cast<size_t>(part.pieces())),
        // Nothing to resume and nothing to divide: plain GET.
        streaming_(part.pieces() == 1 && part.done_bytes() == 0),
        multi_(curl_multi_init(), curl_multi_cleanup) {
    if (!multi_) throw std::runtime_error("libcurl is out of memory");
  }

  ~Download() {
    while (!transfers_.empty()) drop(transfers_.begin());
  }

  void run() {
    while (!part_.complete()) {
      start_transfers();
      int running = 0;
      check(curl_multi_perform(multi_.get(), &running));
      collect();
      monitor_.poll();
      if (part_.complete()) break;
      check(curl_multi_poll(multi_.get(), nullptr, 0, 50, nullptr));
    }
  }

 private:
  using Transfers = std::list<Transfer>;

  [[noreturn]] void fail(const std::string& problem) const {
    throw HubError(HubProblem::kProtocol, source_.subject + ": " + problem);
  }

  static void check(CURLMcode status) {
    if (status != CURLM_OK) {
      throw std::runtime_error(std::string("libcurl: ") +
                               curl_multi_strerror(status));
    }
  }

  void start_transfers() {
    const auto now = Clock::now();
    if (streaming_) {
      if (transfers_.empty() && now >= pieces_[0].wait_until) {
        start(0, {0, part_.bytes()});
      }
      return;
    }
    for (int i = 0; i < part_.pieces(); ++i) {
      if (transfers_.size() >= static_cast<size_t>(options_.connections)) break;
      if (pieces_[i].busy || part_.next(i) == part_.end(i) ||
          now < pieces_[i].wait_until) {
        continue;
      }
      start(i, {part_.next(i), part_.end(i)});
    }
  }

  void start(int piece, ByteRange range) {
    Transfer& transfer = transfers_.emplace_back();
    transfer.piece = piece;
    transfer.range = range;
    transfer.offset = range.begin;
    transfer.request = std::make_unique<HttpRequest>(
        options_, source_.url,
        [this, &transfer](const ResponseHead& head,
                          std::span<const std::byte> bytes) {
          receive(transfer, head, bytes);
        },
        streaming_ ? std::nullopt : std::optional(range));
    pieces_[piece].busy = true;
    check(curl_multi_add_handle(multi_.get(), transfer.request->handle()));
  }

  void drop(Transfers::iterator transfer) {
    if (transfer->request != nullptr) {  // none if making it failed
      curl_multi_remove_handle(multi_.get(), transfer->request->handle());
    }
    pieces_[transfer->piece].busy = false;
    transfers_.erase(transfer);
  }

  void check_head(const Transfer& transfer, const ResponseHead& head) const {
    if (!head.commit.empty() && head.commit != source_.commit) {
      fail("the hub sends it from commit " + quote(head.commit) +
           ", expected " + source_.commit);
    }
    if (!head.linked_etag.empty() && head.linked_etag != file_.blob) {
      fail("the hub now has it with the hash " + quote(head.linked_etag) +
           ", expected " + file_.blob);
    }
    const ByteRange range = transfer.range;
    const std::string size = std::to_string(part_.bytes());
    if (head.status == 206) {
      const std::string expected = "bytes " + std::to_string(range.begin) +
                                   "-" + std::to_string(range.end - 1) + "/" +
                                   size;
      if (head.content_range != expected) {
        fail("the server sends the range " + quote(head.content_range) +
             ", expected " + quote(expected));
      }
    } else if (head.status != 200) {
      fail("the server answered " + std::to_string(head.status));
    } else if (head.content_length && *head.content_length != part_.bytes()) {
      fail("the server announces " + std::to_string(*head.content_length) +
           " bytes, expected " + size);
    }
  }

  void receive(Transfer& transfer, const ResponseHead& head,
               std::span<const std::byte> bytes) {
    if (transfer.offset == transfer.range.begin) {
      check_head(transfer, head);
      if (head.status == 200 && !streaming_) {
        ranges_ignored_ = true;
        throw std::runtime_error("ranges are ignored");  // ends the transfer
      }
      if (head.status == 206 && streaming_) fail("the server sends a part");
    }
    const auto count = static_cast<int64_t>(bytes.size());
    if (count > transfer.range.end - transfer.offset) {
      fail("the server sends more than the expected " +
           std::to_string(part_.bytes()) + " bytes");
    }
    monitor_.add_received(part_.receive(transfer.offset, bytes));
    transfer.offset += count;
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode result = message->data.result;
      const auto transfer = std::find_if(
          transfers_.begin(), transfers_.end(), [&](const Transfer& t) {
            return t.request->handle() == message->easy_handle;
          });
      if (transfer == transfers_.end()) continue;
      finish(*transfer, result);
      drop(transfer);
    }
    if (ranges_ignored_ && !streaming_) {
      streaming_ = true;
      while (!transfers_.empty()) drop(transfers_.begin());
      for (Piece& piece : pieces_) piece = Piece();
    }
  }

  void finish(const Transfer& transfer, CURLcode result) {
    if (ranges_ignored_ && !streaming_) return;
    const HttpRequest& request = *transfer.request;
    request.rethrow();
    if (transfer.offset == transfer.range.end) return;
    std::string problem = request.problem(result);
    const bool short_body = problem.empty();
    if (short_body) problem = "the connection ended early";
    if (!short_body && !request.is_temporary(result)) {
      throw_refusal(options_, source_.subject, source_.model, request, result);
    }
    Piece& piece = pieces_[transfer.piece];
    const int64_t there =
        streaming_ ? part_.done_bytes() : part_.next(transfer.piece);
    if (there - piece.since >= kProgressBytes) piece.failures = 0;
    if (piece.failures == 0) piece.since = there;
    ++piece.failures;
    if (piece.failures > options_.retries) give_up(request, result, problem);
    const auto wait = retry_wait(options_, piece.failures, request.head());
    piece.wait_until = Clock::now() + wait;
    if (!streaming_ && piece.failures < 2) return;  // nothing worth a word
    monitor_.note(source_.subject + ": " + problem + "; trying again in " +
                  std::to_string((wait.count() + 999) / 1000) + " s");
  }

  [[noreturn]] void give_up(const HttpRequest& request, CURLcode result,
                            const std::string& problem) const {
    const std::string there = std::to_string(part_.done_bytes()) + " of " +
                              std::to_string(part_.bytes()) + " bytes";
    if (result == CURLE_HTTP_RETURNED_ERROR || part_.done_bytes() == 0) {
      if (result != CURLE_OK) {
        throw_refusal(options_, source_.subject, source_.model, request,
                      result);
      }
    }
    throw HubError(HubProblem::kNetwork, source_.subject + ": " + problem +
                                             ", again and again; " + there +
                                             " are there and will be kept");
  }

  const DownloadSource& source_;
  const RepoFile& file_;
  const HubOptions& options_;
  PullMonitor& monitor_;
  PartFile& part_;
  std::vector<Piece> pieces_;
  bool streaming_;
  bool ranges_ignored_ = false;
  std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> multi_;
  Transfers transfers_;
};

}  // namespace

void download(const DownloadSource& source, const RepoFile& file,
              const HubOptions& options, PullMonitor& monitor, PartFile& part) {
  Download(source, file, options, monitor, part).run();
}

}  // namespace carat
