// The key-value part of a GGUF file.
#ifndef CARAT_FORMATS_GGUF_METADATA_H_
#define CARAT_FORMATS_GGUF_METADATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "formats/byte_reader.h"
#include "formats/gguf.h"

namespace carat {

/// Reads `count` pairs from `reader`, which stands behind the file's header.
/// `raw` gets the bytes of every value, from its type on.
/// Throws: Error{kCorrupt}, Error{kUnsupported} (an array of arrays).
std::map<std::string, GgufValue, std::less<>> read_gguf_metadata(
    ByteReader& reader, uint64_t count,
    std::map<std::string, std::span<const std::byte>, std::less<>>& raw);

/// "string", "array of integers", ...: the kind of `value` for messages.
std::string gguf_kind(const GgufValue& value);

}  // namespace carat

#endif  // CARAT_FORMATS_GGUF_METADATA_H_
