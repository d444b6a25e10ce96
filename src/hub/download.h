// Bytes of one file, by ranges over several connections.
#ifndef CARAT_HUB_DOWNLOAD_H_
#define CARAT_HUB_DOWNLOAD_H_

#include <string>

#include "hub/http.h"
#include "hub/part_file.h"
#include "hub/pull_monitor.h"
#include "hub/repo_listing.h"

namespace carat {

/// Where a file is: its URL, the commit it belongs to, and how messages call
/// it ("org/name: model.safetensors").
struct DownloadSource {
  std::string url;
  std::string commit;
  std::string subject;
  std::string model;
};

/// Receives what `part` lacks of `file`. Broken connections are tried again
/// where they stopped; a server that ignores ranges sends the file in one
/// stream. Every length that the server tells is compared with the file's.
/// Throws: HubError, Error{kCancelled}; what has come stays in `part`.
void download(const DownloadSource& source, const RepoFile& file,
              const HubOptions& options, PullMonitor& monitor, PartFile& part);

/// What the hub's refusal means, as an exception. `subject` is the model or
/// file asked for.
[[noreturn]] void throw_refusal(const HubOptions& options,
                                const std::string& subject,
                                const std::string& model,
                                const HttpRequest& request, CURLcode result);

}  // namespace carat

#endif  // CARAT_HUB_DOWNLOAD_H_
