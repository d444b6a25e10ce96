// Typed look-ups in a JSON object.
#ifndef CARAT_MODEL_JSON_SECTION_H_
#define CARAT_MODEL_JSON_SECTION_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "carat/error.h"
#include "formats/json.h"

namespace carat {

/// One object of a file called `subject`; absent and null are the same. Both
/// must outlive it. Throws: Error{kCorrupt} for a value of another type.
class JsonSection {
 public:
  JsonSection(const nlohmann::json& json, const std::string& subject)
      : json_(json), subject_(subject) {}

  const nlohmann::json* find(std::string_view key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::optional<int64_t> find_int(std::string_view key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<uint64_t>() > kMax)) {
      fail_kind(key, *value, "an integer");
    }
    return value->get<int64_t>();
  }
  std::optional<double> find_float(std::string_view key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) fail_kind(key, *value, "a number");
    return value->get<double>();
  }
  std::optional<bool> find_bool(std::string_view key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) fail_kind(key, *value, "a boolean");
    return value->get<bool>();
  }
  std::optional<std::string> find_string(std::string_view key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) fail_kind(key, *value, "a string");
    return value->get<std::string>();
  }
  /// An empty object where `key` is absent.
  JsonSection find_section(std::string_view key) const {
    static const nlohmann::json empty = nlohmann::json::object();
    const nlohmann::json* value = find(key);
    if (value == nullptr) return {empty, subject_};
    if (!value->is_object()) fail_kind(key, *value, "an object");
    return {*value, subject_};
  }
  int64_t require_int(std::string_view key) const {
    const auto value = find_int(key);
    if (!value) fail(std::string(key) + " is missing");
    return *value;
  }
  double positive(std::string_view key, double fallback) const {
    const double value = find_float(key).value_or(fallback);
    if (!(value > 0) || !std::isfinite(value)) {
      fail(std::string(key) + " is " + std::to_string(value) +
           ", expected a positive number");
    }
    return value;
  }

  const nlohmann::json& json() const { return json_; }
  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, subject_ + ": " + problem);
  }
  [[noreturn]] void unsupported(const std::string& problem) const {
    fail(problem, ErrorCode::kUnsupported);
  }

 private:
  [[noreturn]] void fail_kind(std::string_view key, const nlohmann::json& value,
                              const char* expected) const {
    fail(std::string(key) + " is " + json_kind(value) + ", expected " +
         expected);
  }

  const nlohmann::json& json_;
  const std::string& subject_;
};

}  // namespace carat

#endif  // CARAT_MODEL_JSON_SECTION_H_
