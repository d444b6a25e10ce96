// Models from a Hugging Face-compatible hub, in the cache folder that other
// tools share.
#ifndef CARAT_HUB_H_
#define CARAT_HUB_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "carat/error.h"
#include "carat/options.h"

namespace carat {

/// Which model, and which state of it.
struct HubName {
  std::string model;              ///< "google/gemma-3-270m"
  std::string revision = "main";  ///< a branch, a tag, or 40 hex digits
  /// Which .gguf: its name, a pattern with * and ?, or a part of the name such
  /// as "Q4_K_M", in any case of letters; empty: the only one there is.
  std::string file;

  bool operator==(const HubName&) const = default;
};

/// Parses "org/name[@revision][:file]"; the organisation may be missing.
/// Throws: Error{kInvalidArgument}.
HubName parse_hub_name(std::string_view text);

/// What stood between carat and a model, beside the codes of Error.
enum class HubProblem : uint8_t {
  kNetwork,   ///< no connection, or one that keeps breaking; code kNotFound
  kDenied,    ///< private, gated or a wrong token; code kInvalidArgument
  kNotFound,  ///< no such model, revision or file; code kNotFound
  kDiskFull,  ///< the cache's disk is too small; code kOutOfMemory
  kProtocol,  ///< an answer that breaks the rules, wrong bytes; code kCorrupt
};

class HubError : public Error {
 public:
  HubError(HubProblem problem, const std::string& message);
  HubProblem problem() const { return problem_; }

 private:
  HubProblem problem_;
};

/// Where the hub is and how to talk to it. The environment is not read: neither
/// HF_TOKEN nor a proxy's variables.
struct HubOptions {
  /// The folder of the "models--org--name" folders; made if missing. The usual
  /// one is ~/.cache/huggingface/hub.
  std::filesystem::path cache;
  std::string endpoint = "https://huggingface.co";
  /// Access token, sent to the endpoint's host alone; empty: none.
  std::string token;
  std::string proxy;                ///< a URL; empty: none
  std::string no_proxy;             ///< hosts without it, between commas
  std::filesystem::path ca_bundle;  ///< empty: the system's
  int connections = 8;              ///< at most, for ranges of one file
  int retries = 5;                  ///< in a row without progress, per range
  std::chrono::milliseconds retry_delay{500};  ///< doubles with each retry
  /// A connection slower than 1 KiB/s for so long counts as broken.
  std::chrono::seconds stall_time{30};
};

struct PullOptions {
  /// (bytes there, bytes of all files). Called while waiting, too, with a total
  /// of 0 before the files are known.
  ProgressCallback on_progress;
  /// Remarks for people: waiting for another process, trying again.
  std::function<void(const std::string& line)> on_note;
};

struct PulledFile {
  std::string name;  ///< in the model's folder
  int64_t bytes = 0;
  std::string blob;  ///< its hash and name in the cache
};

struct PullResult {
  std::string commit;
  std::filesystem::path path;  ///< for Engine::load: a folder or a .gguf
  std::vector<PulledFile> files;
  int64_t bytes = 0;           ///< of all files
  int64_t received_bytes = 0;  ///< over the network, by this call
};

/// Brings a model into the cache: of a safetensors model what carat and others
/// need to run it, of a GGUF model one file. What is there is not fetched
/// again; what was cut off is resumed. The cache is laid out as huggingface_hub
/// does: blobs named by hash, links to them in snapshots/<commit>, refs. Blobs
/// are checked against their hash and appear whole; the snapshot's weights and
/// the ref come last. Processes that pull the same file wait for each other.
/// Calls from several threads are safe.
/// Throws: HubError; Error{kInvalidArgument} (options, the name, an ambiguous
/// file), Error{kUnsupported} (nothing there that carat reads),
/// Error{kCorrupt} (an answer or index that is no JSON), Error{kCancelled}.
/// Source: huggingface_hub's cache-system reference; the hub's HTTP API.
PullResult pull_model(const HubName& name, const HubOptions& options,
                      const PullOptions& pull = {});

/// The path for Engine::load of a model that is in the cache, complete; none if
/// it is not. Touches no network.
/// Without the list of all files, name.file is never read as a part of a name
/// but for its end.
/// Throws: Error{kInvalidArgument} (the name; several .gguf files match),
/// Error{kUnsupported} (a part of a split file), Error{kCorrupt} and
/// HubError{kProtocol} (a broken index of shards).
std::optional<std::filesystem::path> find_pulled_model(
    const HubName& name, const std::filesystem::path& cache);

}  // namespace carat

#endif  // CARAT_HUB_H_
