// JSON -> text, whatever bytes its strings hold.
#ifndef CARAT_CONVERT_JSON_TEXT_H_
#define CARAT_CONVERT_JSON_TEXT_H_

#include <string>

namespace carat {

/// `json` written out; what is not UTF-8 becomes U+FFFD: GGUF strings hold any
/// bytes. `indent` -1: on one line.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace carat

#endif  // CARAT_CONVERT_JSON_TEXT_H_
