#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/output.h"
#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{300};
constexpr milliseconds kRedraw{60};
constexpr int kWidestBar = 32;

int terminal_columns() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return 80;
  }
  return size.ws_col;
}

}  // namespace

ProgressBar::ProgressBar(std::string label, Unit unit)
    : label_(std::move(label)), unit_(unit), next_draw_(start_ + kPatience) {}

std::string ProgressBar::amount(int64_t done, int64_t total,
                                double seconds) const {
  switch (unit_) {
    case Unit::kBytes:
      return fmt::format("{} of {}", human_bytes(done), human_bytes(total));
    case Unit::kTransfer:
      return fmt::format("{} of {}{}", human_bytes(done), human_bytes(total),
                         rate_and_time_left(done, total));
    case Unit::kTokens:
      return fmt::format("{} of {} tokens, {:.0f} tok/s", done, total,
                         static_cast<double>(done) / seconds);
    case Unit::kSteps:
      return fmt::format("{} of {}", done, total);
  }
  return {};
}

std::string ProgressBar::rate_and_time_left(int64_t done, int64_t total) const {
  const double seconds =
      std::chrono::duration<double>(Clock::now() - first_time_).count();
  if (seconds < 0.5 || done <= first_done_) return {};
  const double rate = static_cast<double>(done - first_done_) / seconds;
  const auto left =
      static_cast<int64_t>(static_cast<double>(total - done) / rate);
  const std::string time =
      left < 3600 ? fmt::format("{}:{:02}", left / 60, left % 60)
                  : fmt::format("{} h {:02} min", left / 3600, left / 60 % 60);
  return fmt::format(", {}/s, {} left", human_bytes(static_cast<int64_t>(rate)),
                     time);
}

void ProgressBar::update(int64_t done, int64_t total) {
  const Clock::time_point now = Clock::now();
  if (total > 0 && first_done_ < 0) {
    first_done_ = done;
    first_time_ = now;
  }
  if (total <= 0 || now < next_draw_ || !stderr_is_terminal()) return;
  next_draw_ = now + kRedraw;
  const double share = std::clamp(
      static_cast<double>(done) / static_cast<double>(total), 0., 1.);
  const std::string text =
      amount(done, total, std::chrono::duration<double>(now - start_).count());
  const int room =
      terminal_columns() - 12 - static_cast<int>(label_.size() + text.size());
  const int width = std::clamp(room, 0, kWidestBar);
  const int filled = static_cast<int>(share * width);
  const char* colour = stderr_has_colours() ? "\x1b[36m" : "";
  const char* plain = stderr_has_colours() ? "\x1b[0m" : "";
  fmt::print(stderr, "\r\x1b[K{} [{}{:#<{}}{}{:<{}}] {:3.0f}% {}", label_,
             colour, "", filled, plain, "", width - filled, 100 * share, text);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace carat::cli
