// Members of JSON objects that may lack them, or hold anything else.
#ifndef CARAT_TEXT_JSON_MEMBER_H_
#define CARAT_TEXT_JSON_MEMBER_H_

#include <nlohmann/json.hpp>

namespace carat {

/// `object[key]`, null where it is absent.
inline const nlohmann::json& member(const nlohmann::json& object,
                                    const char* key) {
  static const nlohmann::json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

inline bool is_true(const nlohmann::json& value) {
  return value.is_boolean() && value.get<bool>();
}

}  // namespace carat

#endif  // CARAT_TEXT_JSON_MEMBER_H_
