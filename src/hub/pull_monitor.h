// What a pull tells its caller, and how the caller ends it.
#ifndef CARAT_HUB_PULL_MONITOR_H_
#define CARAT_HUB_PULL_MONITOR_H_

#include <cstdint>
#include <string>

#include "carat/hub.h"

namespace carat {

class PullMonitor {
 public:
  explicit PullMonitor(const PullOptions& options) : options_(options) {}

  void set_total(int64_t bytes) { total_ = bytes; }
  /// Bytes that are there, found or received.
  void add(int64_t bytes) { done_ += bytes; }
  void add_received(int64_t bytes) {
    received_ += bytes;
    done_ += bytes;
  }
  int64_t received() const { return received_; }

  /// Reports progress. Throws: Error{kCancelled} if the caller wants no more.
  void poll() const {
    if (options_.on_progress && !options_.on_progress(done_, total_)) {
      throw Error(ErrorCode::kCancelled, "the download was stopped");
    }
  }
  void note(const std::string& line) const {
    if (options_.on_note) options_.on_note(line);
  }

 private:
  const PullOptions& options_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  int64_t received_ = 0;
};

}  // namespace carat

#endif  // CARAT_HUB_PULL_MONITOR_H_
