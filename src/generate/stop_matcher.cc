#include "generate/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace carat {

StopMatcher::StopMatcher(std::vector<std::string> stops)
    : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopMatcher::push(std::string_view text) {
  if (matched_) return "";
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    matched_ = true;
    std::string before = held_.substr(0, first);
    held_.clear();
    return before;
  }
  // Hold back the longest end of the text that begins some stop string.
  size_t hold = 0;
  for (const std::string& stop : stops_) {
    const size_t longest = std::min(stop.size() - 1, held_.size());
    for (size_t size = longest; size > hold; --size) {
      if (std::string_view(held_).substr(held_.size() - size) ==
          std::string_view(stop).substr(0, size)) {
        hold = size;
        break;
      }
    }
  }
  std::string ready = held_.substr(0, held_.size() - hold);
  held_.erase(0, ready.size());
  return ready;
}

std::string StopMatcher::finish() {
  return matched_ ? std::string() : std::exchange(held_, std::string());
}

}  // namespace carat
