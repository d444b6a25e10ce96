// Finds stop strings in streamed text without printing part of one.
#ifndef CARAT_GENERATE_STOP_MATCHER_H_
#define CARAT_GENERATE_STOP_MATCHER_H_

#include <string>
#include <string_view>
#include <vector>

namespace carat {

/// Text goes in piece by piece and comes out as soon as it can't be the start
/// of a stop string any more. Not thread-safe.
class StopMatcher {
 public:
  /// Empty stop strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  /// What may be printed now. After a match: the text before the earliest one,
  /// and nothing from then on.
  std::string push(std::string_view text);
  /// The rest, when the text has ended without a match.
  std::string finish();
  bool matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace carat

#endif  // CARAT_GENERATE_STOP_MATCHER_H_
