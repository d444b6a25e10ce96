#include "formats/json.h"

#include <string_view>
#include <utility>
#include <vector>

#include "carat/error.h"
#include "formats/quote.h"

namespace carat {
namespace {

using Json = nlohmann::json;

/// Builds the document from the parser's events; the parser itself keeps no
/// stack of calls, so any depth reaches begin().
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const std::string& name) : name_(name) {}

  Json take() { return std::move(root_); }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(value);
  }
  bool number_float(number_float_t value, const string_t&) override {
    return scalar(value);
  }
  bool string(string_t& value) override { return scalar(std::move(value)); }
  bool binary(binary_t&) override { fail("binary values are not JSON"); }

  bool start_object(size_t) override { return begin(Json::object()); }
  bool start_array(size_t) override { return begin(Json::array()); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }

  bool key(string_t& value) override {
    if (open_.back()->contains(value)) {
      fail("key " + quote(value) + " is there twice");
    }
    key_ = std::move(value);
    return true;
  }

  bool parse_error(size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(not_json(error));
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::kCorrupt, name_ + ": " + problem);
  }

  bool begin(Json container) {
    constexpr size_t kMaxDepth = 32;
    if (open_.size() == kMaxDepth) fail("nested more than 32 deep");
    if (open_.empty()) {
      if (!container.is_object()) fail("is a list, expected a JSON object");
      root_ = std::move(container);
      open_.push_back(&root_);
    } else {
      open_.push_back(&insert(std::move(container)));
    }
    return true;
  }

  bool end() {
    open_.pop_back();
    return true;
  }

  bool scalar(Json value) {
    if (open_.empty()) fail("is a single value, expected a JSON object");
    insert(std::move(value));
    return true;
  }

  Json& insert(Json value) {
    Json& parent = *open_.back();
    if (parent.is_object()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }

  const std::string& name_;
  Json root_;
  std::string key_;
  std::vector<Json*> open_;  // containers being filled, outermost first
};

}  // namespace

Json parse_json_object(std::span<const std::byte> bytes,
                       const std::string& name) {
  Builder builder(name);
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  Json::sax_parse(begin, begin + bytes.size(), &builder);
  return builder.take();
}

std::string not_json(const nlohmann::detail::exception& error) {
  std::string what = error.what();
  constexpr size_t kMaxBytes = 160;
  if (what.size() > kMaxBytes) what = what.substr(0, kMaxBytes) + "...";
  std::string printable;
  for (const char c : what) printable += c >= 0x20 && c < 0x7f ? c : '?';
  return "not JSON: " + printable;
}

std::string json_kind(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  if (value.is_array()) return "a list";
  return "an object";
}

}  // namespace carat
