#include <utility>

#include "carat/tokenizer.h"
#include "text/utf8.h"

namespace carat {

std::string StreamingDetokenizer::push(int32_t id) {
  // Also where nothing is printed, so that a bad id never goes unnoticed.
  const std::string bytes = tokenizer_->bytes(id);
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  if (tokenizer_->splits_characters()) {
    held_ += bytes;
    return take_complete();
  }
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

std::string StreamingDetokenizer::take_complete() {
  size_t at = 0;
  for (size_t length = 0; at < held_.size(); at += length) {
    if (classify_utf8(std::string_view(held_).substr(at), length) ==
        Utf8State::kIncomplete) {
      break;
    }
  }
  std::string text;
  append_valid(std::string_view(held_).substr(0, at), text);
  held_.erase(0, at);
  return text;
}

std::string StreamingDetokenizer::finish() {
  std::string text;
  if (tokenizer_->splits_characters()) {
    append_valid(std::exchange(held_, {}), text);
    return text;
  }
  for (size_t i = 0; i < held_.size(); ++i) text += kReplacement;
  held_.clear();
  broken_run_ = false;
  return text;
}

}  // namespace carat
