#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "carat/error.h"
#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kMetadataKey = "__metadata__";

struct TypeBits {
  std::string_view name;
  int bits;
};

constexpr std::array kTypes = {
    TypeBits{"BOOL", 8},    TypeBits{"F4", 4},      TypeBits{"F6_E2M3", 6},
    TypeBits{"F6_E3M2", 6}, TypeBits{"U8", 8},      TypeBits{"I8", 8},
    TypeBits{"F8_E5M2", 8}, TypeBits{"F8_E4M3", 8}, TypeBits{"F8_E8M0", 8},
    TypeBits{"I16", 16},    TypeBits{"U16", 16},    TypeBits{"F16", 16},
    TypeBits{"BF16", 16},   TypeBits{"I32", 32},    TypeBits{"U32", 32},
    TypeBits{"F32", 32},    TypeBits{"C64", 64},    TypeBits{"F64", 64},
    TypeBits{"I64", 64},    TypeBits{"U64", 64},
};

/// One entry of the header; `begin` and `end` are positions in the data part.
struct Entry {
  SafetensorsTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

uint64_t read_count(const ByteReader& reader, const Json& value,
                    const std::string& what) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (!value.is_number_unsigned() || value.get<uint64_t>() > kMax) {
    reader.fail(what + " is " +
                (value.is_number() ? value.dump() : json_kind(value)) +
                ", expected an integer from 0 to 2^63 - 1");
  }
  return value.get<uint64_t>();
}

const Json& member(const ByteReader& reader, const Json& entry, const char* key,
                   const std::string& what) {
  const auto found = entry.find(key);
  if (found == entry.end()) reader.fail(what + ": no " + key);
  return *found;
}

Entry read_entry(const ByteReader& reader, const std::string& name,
                 const Json& value) {
  const std::string what = "tensor " + quote(name);
  if (!value.is_object()) {
    reader.fail(what + ": is " + json_kind(value) + ", expected an object");
  }
  Entry entry;
  entry.tensor.name = name;

  const Json& dtype = member(reader, value, "dtype", what);
  if (!dtype.is_string()) reader.fail(what + ": dtype is not a string");
  entry.tensor.dtype = dtype.get<std::string>();
  const int bits = safetensors_type_bits(entry.tensor.dtype);
  if (bits == 0) {
    reader.fail_unsupported(what + ": unknown type " +
                            quote(entry.tensor.dtype));
  }

  const Json& shape = member(reader, value, "shape", what);
  if (!shape.is_array()) reader.fail(what + ": shape is not a list");
  const std::string subject = reader.file_name() + ": " + what;
  uint64_t size_bits = static_cast<uint64_t>(bits);
  for (const Json& size : shape) {
    const uint64_t count = read_count(reader, size, what + ": a dimension");
    size_bits = checked_mul(size_bits, count, subject);
    entry.tensor.shape.push_back(static_cast<int64_t>(count));
  }

  const Json& offsets = member(reader, value, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2) {
    reader.fail(what + ": data_offsets is not a pair");
  }
  entry.begin = read_count(reader, offsets[0], what + ": its begin");
  entry.end = read_count(reader, offsets[1], what + ": its end");
  if (entry.begin > entry.end) {
    reader.fail(what + ": begins at " + std::to_string(entry.begin) +
                ", behind its end at " + std::to_string(entry.end));
  }
  if (size_bits % 8 != 0 || size_bits / 8 != entry.end - entry.begin) {
    reader.fail(what + ": has " + std::to_string(entry.end - entry.begin) +
                " bytes, type and shape need " +
                std::to_string(size_bits / 8 + (size_bits % 8 != 0 ? 1 : 0)));
  }
  return entry;
}

/// Throws unless the entries, in the order of their bytes, follow each other
/// from 0 to `data_bytes`.
void check_cover(const ByteReader& reader, const std::vector<Entry>& entries,
                 uint64_t data_bytes) {
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      reader.fail("tensor " + quote(entry.tensor.name) + ": begins at " +
                  std::to_string(entry.begin) + ", but the tensors before it " +
                  "end at " + std::to_string(position));
    }
    position = entry.end;
  }
  if (position != data_bytes) {
    reader.fail("the tensors have " + std::to_string(position) +
                " bytes, but " + std::to_string(data_bytes) +
                " follow the header");
  }
}

}  // namespace

int safetensors_type_bits(std::string_view dtype) {
  const auto type = std::ranges::find(kTypes, dtype, &TypeBits::name);
  return type == kTypes.end() ? 0 : type->bits;
}

SafetensorsShard::SafetensorsShard(const std::filesystem::path& path)
    : path_(path), file_(path) {
  parse(file_.bytes());
}

SafetensorsShard::SafetensorsShard(std::span<const std::byte> bytes,
                                   std::string_view name)
    : path_(name) {
  parse(bytes);
}

void SafetensorsShard::parse(std::span<const std::byte> bytes) {
  bytes_ = std::ssize(bytes);
  ByteReader reader(bytes, path_.string());
  const auto header_bytes = reader.read<uint64_t>("header length");
  if (header_bytes > kMaxHeaderBytes) {
    reader.fail("header of " + std::to_string(header_bytes) +
                " bytes, expected at most 100 MB");
  }
  const auto header = reader.take(header_bytes, "header");
  if (header.empty() || header[0] != std::byte{'{'}) {
    reader.fail("the header does not begin with '{'");
  }
  const Json json = parse_json_object(header, path_.string() + ": header");

  std::vector<Entry> entries;
  entries.reserve(json.size());
  for (const auto& [name, value] : json.items()) {
    if (name != kMetadataKey) {
      entries.push_back(read_entry(reader, name, value));
      continue;
    }
    if (!value.is_object()) reader.fail("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        reader.fail("__metadata__: " + quote(key) + " is not a string");
      }
      metadata_.emplace(key, text.get<std::string>());
    }
  }
  std::ranges::stable_sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const auto data = bytes.subspan(reader.position());
  check_cover(reader, entries, data.size());
  tensors_.reserve(entries.size());
  for (Entry& entry : entries) {
    entry.tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    tensors_.push_back(std::move(entry.tensor));
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    index_.emplace(tensors_[i].name, i);
  }
}

const SafetensorsTensor* SafetensorsShard::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace carat
