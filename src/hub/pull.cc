// Brings a model into the cache: list, choose, fetch, check, link.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>

#include "base/checked.h"
#include "base/require.h"
#include "formats/quote.h"
#include "hub/digest.h"
#include "hub/download.h"
#include "hub/file_choice.h"
#include "hub/file_system.h"
#include "hub/model_name.h"
#include "hub/part_file.h"
#include "hub/paths.h"
#include "hub/pull_monitor.h"
#include "hub/repo_cache.h"

namespace carat {
namespace {

constexpr size_t kLargestAnswer = size_t{32} << 20;
constexpr int64_t kLargestIndex = int64_t{64} << 20;
constexpr int64_t kSpareBytes = int64_t{16} << 20;

void check_options(const HubOptions& options) {
  require(!options.cache.empty(), "the hub's cache folder is not given");
  require(options.connections >= 1 && options.connections <= 64,
          "connections must be from 1 to 64");
  require(options.retries >= 0, "retries must not be negative");
  require(options.stall_time.count() >= 1, "stall_time must be 1 s or more");
  // It becomes part of a header line.
  require(std::all_of(options.token.begin(), options.token.end(),
                      [](unsigned char c) { return c > 0x20 && c < 0x7f; }),
          "the access token (HF_TOKEN) has characters that no token has");
}

class Pull {
 public:
  Pull(const HubName& name, const HubOptions& options, const PullOptions& pull)
      : name_(name),
        options_(options),
        endpoint_(clean_endpoint(options.endpoint)),
        subject_(name.model +
                 (name.revision == "main" ? "" : "@" + name.revision)),
        cache_(options.cache, name.model),
        monitor_(pull) {}

  PullResult run() {
    listing_ = fetch_listing();
    cache_.make();
    if (!name_.file.empty() || !has_safetensors(listing_)) {
      pull_gguf();
    } else {
      pull_safetensors();
    }
    link_all();
    for (const RepoFile& file : files_) {
      result_.files.push_back({file.name, file.bytes, file.blob});
      result_.bytes += file.bytes;
    }
    result_.commit = listing_.commit;
    result_.received_bytes = monitor_.received();
    return result_;
  }

 private:
  RepoListing fetch_listing() {
    const std::string url = endpoint_ + "/api/models/" + name_.model +
                            "/revision/" + url_escaped(name_.revision, true) +
                            "?blobs=true";
    for (int attempt = 1;; ++attempt) {
      std::string answer;
      HttpRequest request(
          options_, url,
          [&](const ResponseHead&, std::span<const std::byte> bytes) {
            if (answer.size() + bytes.size() > kLargestAnswer) {
              throw HubError(HubProblem::kProtocol,
                             subject_ + ": the hub's answer does not end");
            }
            answer.append(reinterpret_cast<const char*>(bytes.data()),
                          bytes.size());
          });
      const CURLcode result = perform(request);
      request.rethrow();
      if (request.problem(result).empty()) {
        RepoListing listing =
            parse_repo_listing(answer, subject_ + ": the hub's answer");
        check_commit(listing);
        return listing;
      }
      // Without a network, people want to know at once.
      const bool unreachable = result == CURLE_COULDNT_RESOLVE_HOST ||
                               result == CURLE_COULDNT_CONNECT;
      const int most =
          unreachable ? std::min(1, options_.retries) : options_.retries;
      if (!request.is_temporary(result) || attempt > most) {
        throw_refusal(options_, subject_, name_.model, request, result);
      }
      wait(retry_wait(options_, attempt, request.head()),
           request.problem(result));
    }
  }

  /// A revision that is a commit must be the one that comes.
  void check_commit(const RepoListing& listing) const {
    if (is_commit(name_.revision) && listing.commit != name_.revision) {
      throw HubError(HubProblem::kProtocol,
                     subject_ + ": the hub's answer is of the commit " +
                         quote(listing.commit));
    }
  }

  /// Runs a short request; the caller may cancel it.
  CURLcode perform(HttpRequest& request) {
    constexpr long kMostSeconds = 120;
    CURL* handle = request.handle();
    std::exception_ptr cancelled;
    struct Context {
      const PullMonitor& monitor;
      std::exception_ptr& cancelled;
    } context{monitor_, cancelled};
    curl_easy_setopt(handle, CURLOPT_TIMEOUT, kMostSeconds);
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &context);
    curl_easy_setopt(
        handle, CURLOPT_XFERINFOFUNCTION,
        +[](void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
          auto* self = static_cast<Context*>(data);
          try {
            self->monitor.poll();
            return 0;
          } catch (...) {
            self->cancelled = std::current_exception();
            return 1;
          }
        });
    const CURLcode result = curl_easy_perform(handle);
    if (cancelled) std::rethrow_exception(cancelled);
    return result;
  }

  void wait(std::chrono::milliseconds time, const std::string& why) {
    monitor_.note(subject_ + ": " + host_of(endpoint_) + ": " + why +
                  "; trying again in " +
                  std::to_string((time.count() + 999) / 1000) + " s");
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      monitor_.poll();
      std::this_thread::sleep_for(
          std::min(time, std::chrono::milliseconds(50)));
    }
  }

  void pull_gguf() {
    std::vector<std::string> names;
    for (const RepoFile& file : listing_.files) names.push_back(file.name);
    if (name_.file.empty() &&
        std::none_of(names.begin(), names.end(), [](const std::string& name) {
          return name.ends_with(".gguf");
        })) {
      throw Error(ErrorCode::kUnsupported,
                  subject_ + ": has neither " + std::string(kSingleWeights) +
                      ", nor its index, nor a .gguf file; carat reads those");
    }
    const std::string chosen = choose_gguf(names, name_.file, name_.model);
    fetch_all({*listing_.find(chosen)});
    result_.path = cache_.snapshot(listing_.commit) / chosen;
  }

  void pull_safetensors() {
    fetch_all(description_files(listing_));
    if (listing_.find("config.json") == nullptr) {
      throw Error(ErrorCode::kUnsupported, subject_ + ": has no config.json");
    }
    if (const RepoFile* single = listing_.find(kSingleWeights)) {
      fetch_all({*single});
    } else {
      const RepoFile& index = *listing_.find(kWeightsIndex);
      fetch_all({index});
      const std::string subject = subject_ + ": " + std::string(kWeightsIndex);
      std::vector<RepoFile> shards;
      for (const std::string& shard : indexed_files(
               read_small_file(cache_.blob(index.blob), kLargestIndex),
               subject)) {
        const RepoFile* file = listing_.find(shard);
        if (file == nullptr) {
          throw HubError(HubProblem::kProtocol,
                         subject + ": names " + quote(shard) +
                             ", which the model does not have");
        }
        shards.push_back(*file);
      }
      fetch_all(shards);
    }
    result_.path = cache_.snapshot(listing_.commit);
  }

  /// Fetches what is missing of `files`, in order.
  void fetch_all(const std::vector<RepoFile>& files) {
    int64_t missing = 0;
    for (const RepoFile& file : files) {
      if (file.bytes < 0 || file.blob.empty()) {
        throw HubError(HubProblem::kProtocol,
                       subject_ + ": the hub tells no size or hash of " +
                           quote(file.name));
      }
      total_ += file.bytes;
      if (!cache_.has_blob(file)) missing += file.bytes - allocated(file);
    }
    monitor_.set_total(total_);
    check_space(missing);
    for (const RepoFile& file : files) fetch(file);
    files_.insert(files_.end(), files.begin(), files.end());
  }

  /// Bytes that a part file, left by a former pull, holds on the disk already.
  int64_t allocated(const RepoFile& file) const {
    struct stat status = {};
    if (stat(cache_.part(file.blob).c_str(), &status) != 0) return 0;
    return std::min<int64_t>(file.bytes, int64_t{512} * status.st_blocks);
  }

  void check_space(int64_t missing) const {
    const int64_t free = free_bytes(cache_.folder());
    if (missing == 0 || missing <= free - kSpareBytes) return;
    throw HubError(HubProblem::kDiskFull,
                   cache_.folder().string() + ": " + std::to_string(missing) +
                       " bytes are to come, and the disk has " +
                       std::to_string(free) + " free");
  }

  bool is_there(const RepoFile& file) {
    if (!cache_.has_blob(file)) return false;
    // Left by a process that was killed just before it was done.
    unlink(cache_.journal(file.blob).c_str());
    monitor_.add(file.bytes);
    return true;
  }

  void fetch(const RepoFile& file) {
    const std::string subject = subject_ + ": " + file.name;
    const auto poll = [&] { monitor_.poll(); };
    if (is_there(file)) return;
    const FileLock lock(
        cache_.lock(file.blob),
        [&] {
          monitor_.note(subject +
                        ": another process is fetching it; waiting for it");
        },
        poll);
    if (is_there(file)) return;
    PartFile part(cache_.part(file.blob), cache_.journal(file.blob), file.bytes,
                  options_.connections);
    const DownloadSource source = {endpoint_ + "/" + name_.model + "/resolve/" +
                                       listing_.commit + "/" +
                                       url_escaped(file.name, false),
                                   listing_.commit, subject, name_.model};
    monitor_.add(part.done_bytes());
    while (true) {
      download(source, file, options_, monitor_, part);
      const std::string hash =
          blob_hash(part.file(), file.bytes, file.is_large(), poll);
      if (hash == file.blob) break;
      if (!part.resumed()) {
        part.remove();
        std::string problem = subject + ": what came has the hash ";
        problem += hash;
        throw HubError(HubProblem::kProtocol,
                       problem + ", expected " + file.blob);
      }
      monitor_.note(subject +
                    ": what a former download left is damaged; starting over");
      monitor_.add(-file.bytes);
      part.restart();
    }
    part.finish(cache_.blob(file.blob));
  }

  void link_all() {
    const FileLock lock(
        cache_.lock("carat"), [] {}, [&] { monitor_.poll(); });
    for (const RepoFile& file : files_) cache_.link(listing_.commit, file);
    cache_.set_ref(name_.revision, listing_.commit);
  }

  const HubName& name_;
  const HubOptions& options_;
  std::string endpoint_;
  std::string subject_;
  RepoCache cache_;
  PullMonitor monitor_;
  RepoListing listing_;
  std::vector<RepoFile> files_;  // fetched, the weights last
  int64_t total_ = 0;
  PullResult result_;
};

}  // namespace

PullResult pull_model(const HubName& name, const HubOptions& options,
                      const PullOptions& pull) {
  check_hub_name(name);
  check_options(options);
  start_libcurl();
  return Pull(name, options, pull).run();
}

}  // namespace carat
