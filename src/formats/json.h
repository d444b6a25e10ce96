// Strict JSON for files that describe a model: safetensors headers,
// config.json.
#ifndef CARAT_FORMATS_JSON_H_
#define CARAT_FORMATS_JSON_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace carat {

/// The object that `bytes` spell. Nesting is bounded (32 deep), so the result
/// can be walked and destroyed by recursion; memory is in proportion to the
/// bytes. `name` is the file's, for messages.
/// Throws: Error{kCorrupt} for what is not a JSON object in UTF-8, a key that
/// is there twice in one object, or a number too large for its type.
/// Source: RFC 8259.
nlohmann::json parse_json_object(std::span<const std::byte> bytes,
                                 const std::string& name);

/// "a string", "a list", ...: what `value` is, for messages.
std::string json_kind(const nlohmann::json& value);

/// What a parser says of text that is not JSON, short and printable: its
/// message may quote a string of any length from the file.
std::string not_json(const nlohmann::detail::exception& error);

}  // namespace carat

#endif  // CARAT_FORMATS_JSON_H_
