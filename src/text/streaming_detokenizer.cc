#include <utility>

#include "carat/tokenizer.h"
#include "text/utf8.h"

namespace carat {

std::string StreamingDetokenizer::push(int32_t id) {
  // Also where nothing is printed, so that a bad id never goes unnoticed.
  const std::string bytes = tokenizer_->bytes(id);
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  if (!tokenizer_->is_byte(id)) {
    std::string text = finish();
    append_valid(bytes, text);
    return text;
  }
  if (broken_run_) return std::string(kReplacement);
  held_ += bytes;
  size_t length = 0;
  const Utf8State state = classify_utf8(held_, length);
  if (state == Utf8State::kIncomplete) return {};
  if (state == Utf8State::kComplete) return std::exchange(held_, {});
  std::string text = finish();
  broken_run_ = true;
  return text;
}

std::string StreamingDetokenizer::finish() {
  std::string text;
  for (size_t i = 0; i < held_.size(); ++i) text += kReplacement;
  held_.clear();
  broken_run_ = false;
  return text;
}

}  // namespace carat
