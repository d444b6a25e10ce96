// A bar on standard error for work that takes a while.
#ifndef CARAT_CLI_PROGRESS_BAR_H_
#define CARAT_CLI_PROGRESS_BAR_H_

#include <chrono>
#include <cstdint>
#include <string>

namespace carat::cli {

/// Draws nothing unless standard error is a terminal and the work has taken
/// 0.3 s; leaves nothing behind.
class ProgressBar {
 public:
  enum class Unit : uint8_t { kBytes, kTransfer, kTokens, kSteps };

  ProgressBar(std::string label, Unit unit);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `done` of `total` units are done.
  void update(int64_t done, int64_t total);

  /// Wipes the bar, before something else is printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string amount(int64_t done, int64_t total, double seconds) const;
  std::string rate_and_time_left(int64_t done, int64_t total) const;

  std::string label_;
  Unit unit_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_draw_;
  int64_t first_done_ = -1;  // what was there before this run
  Clock::time_point first_time_;
  bool drawn_ = false;
};

}  // namespace carat::cli

#endif  // CARAT_CLI_PROGRESS_BAR_H_
