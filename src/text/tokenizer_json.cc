#include "text/tokenizer_json.h"

#include <limits>
#include <utility>

#include "carat/error.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace carat {
namespace {

using Json = nlohmann::json;

/// Vocabulary and merges, a million values, go straight into flat arrays; as
/// JSON values they would take ten times the file's size.
class Reader final : public nlohmann::json_sax<Json> {
 public:
  Reader(std::string name, TokenizerJson& result)
      : name_(std::move(name)), result_(&result) {
    result_->rest = Json::object();
  }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(value);
  }
  bool number_float(number_float_t value, const string_t&) override {
    return scalar(value);
  }
  bool string(string_t& value) override {
    if (region_ != Region::kMerges) return scalar(std::move(value));
    add_merge_string(value);
    return true;
  }
  bool binary(binary_t&) override { fail("binary values are not JSON"); }

  bool start_object(size_t) override {
    begin(Json::object());
    return true;
  }
  bool start_array(size_t) override {
    begin(Json::array());
    return true;
  }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }

  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }

  bool parse_error(size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(not_json(error));
  }

 private:
  enum class Region { kRest, kVocab, kMerges, kSkipped };

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::kCorrupt, name_ + ": " + problem);
  }

  void begin(Json container) {
    constexpr size_t kMaxDepth = 32;
    if (depth_ == kMaxDepth) fail("nested more than 32 deep");
    ++depth_;
    if (depth_ == 1) {
      if (!container.is_object()) fail("expected a JSON object");
      open_.push_back(&result_->rest);
      return;
    }
    if (region_ == Region::kMerges && depth_ == 4 && container.is_array()) {
      pair_parts_ = 0;
      return;
    }
    if (region_ == Region::kVocab) bad_vocab_value();
    if (region_ == Region::kMerges) fail("model.merges: expected pairs");
    if (region_ == Region::kSkipped) return;
    if (opens_list(container)) return;
    open_.push_back(&insert(std::move(container)));
  }

  /// At depth 3 and in the model: a vocabulary or a list of merges?
  bool opens_list(const Json& container) {
    if (depth_ != 3 || !model_open_) return false;
    if (key_ != "vocab" && key_ != "merges") return false;
    bool& seen = key_ == "vocab" ? result_->has_vocab : result_->has_merges;
    if (seen) fail("model." + key_ + " is there twice");
    if (key_ == "vocab" && container.is_object()) {
      seen = true;
      region_ = Region::kVocab;
    } else if (key_ == "merges" && container.is_array()) {
      seen = true;
      region_ = Region::kMerges;
    } else {
      region_ = Region::kSkipped;
    }
    return true;
  }

  bool end() {
    if (region_ == Region::kMerges && depth_ == 4) {
      if (pair_parts_ != 2) fail("model.merges: a pair of other than two");
    } else if (region_ == Region::kRest) {
      open_.pop_back();
      if (depth_ == 2) model_open_ = false;
    } else if (depth_ == 3) {
      region_ = Region::kRest;
    }
    --depth_;
    return true;
  }

  bool scalar(Json value) {
    if (depth_ == 0) fail("expected a JSON object");
    switch (region_) {
      case Region::kRest:
        if (model_open_ && depth_ == 2 &&
            (key_ == "vocab" || key_ == "merges")) {
          break;
        }
        insert(std::move(value));
        break;
      case Region::kVocab:
        add_vocab(value);
        break;
      case Region::kMerges:
        fail("model.merges: expected strings");
      case Region::kSkipped:
        break;
    }
    return true;
  }

  Json& insert(Json value) {
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return parent.back();
    }
    if (depth_ == 2 && key_ == "model" && value.is_object()) {
      if (parent.contains(key_)) fail("model is there twice");
      model_open_ = true;
    }
    return parent[key_] = std::move(value);
  }

  uint32_t append_text(const std::string& piece) {
    const size_t begin = result_->text.size();
    if (piece.size() > std::numeric_limits<uint32_t>::max() - begin) {
      throw Error(ErrorCode::kUnsupported, name_ + ": more than 4 GiB of text");
    }
    result_->text += piece;
    return static_cast<uint32_t>(begin);
  }

  [[noreturn]] void bad_vocab_value() const {
    fail("model.vocab: the id of " + quote(key_) +
         " is not an integer from 0 to 2^31 - 2");
  }

  void add_vocab(const Json& value) {
    constexpr uint64_t kMaxId = std::numeric_limits<int32_t>::max() - 1;
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxId) {
      bad_vocab_value();
    }
    const uint32_t begin = append_text(key_);
    result_->vocab.push_back(
        {begin, static_cast<uint32_t>(key_.size()), value.get<int32_t>()});
  }

  void add_merge_string(const std::string& value) {
    if (depth_ == 4) {
      const uint32_t begin = append_text(value);
      const auto length = static_cast<uint32_t>(value.size());
      if (++pair_parts_ == 1) {
        result_->merges.push_back({begin, length, 0});
      } else if (pair_parts_ == 2) {
        result_->merges.back().right_length = length;
      } else {
        fail("model.merges: a pair of other than two");
      }
      return;
    }
    const size_t space = value.find(' ');
    if (space == value.npos || value.find(' ', space + 1) != value.npos) {
      fail("model.merges: " + quote(value) + "; expected two pieces");
    }
    const uint32_t begin = append_text(value.substr(0, space));
    append_text(value.substr(space + 1));
    result_->merges.push_back(
        {begin, static_cast<uint32_t>(space),
         static_cast<uint32_t>(value.size() - space - 1)});
  }

  std::string name_;
  TokenizerJson* result_;
  std::string key_;
  std::vector<Json*> open_;  // containers being filled, outermost first
  size_t depth_ = 0;
  size_t pair_parts_ = 0;
  bool model_open_ = false;
  Region region_ = Region::kRest;
};

}  // namespace

TokenizerJson parse_tokenizer_json(const std::string& name,
                                   std::span<const std::byte> bytes) {
  TokenizerJson result;
  Reader reader(name, result);
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  Json::sax_parse(begin, begin + bytes.size(), &reader);
  return result;
}

}  // namespace carat
