#include "formats/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/quote.h"

namespace carat {
namespace {

/// Value type numbers of the GGUF specification.
enum ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

constexpr uint64_t kMaxKeyBytes = 65535;  // as the specification says
constexpr uint64_t kMinPairBytes = 13;    // key length, type, one-byte value
constexpr uint64_t kStringLengthBytes = 8;

int64_t checked_int(const ByteReader& reader, uint64_t value,
                    const std::string& what) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    reader.fail(what + ": " + std::to_string(value) + " is beyond 2^63 - 1");
  }
  return static_cast<int64_t>(value);
}

bool checked_bool(const ByteReader& reader, uint8_t value,
                  const std::string& what) {
  if (value > 1) {
    reader.fail(what + ": boolean " + std::to_string(value) +
                ", expected 0 or 1");
  }
  return value == 1;
}

/// `count` numbers stored as Stored, widened. The caller has checked the room.
template <class Stored, class Wide>
std::vector<Wide> read_numbers(ByteReader& reader, uint64_t count,
                               const std::string& what) {
  reader.expect_room(count, sizeof(Stored), what);
  const auto bytes = reader.take(count * sizeof(Stored), what);
  std::vector<Wide> numbers(count);
  for (uint64_t i = 0; i < count; ++i) {
    Stored number;
    std::memcpy(&number, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    if constexpr (std::is_same_v<Stored, uint64_t>) {
      numbers[i] = checked_int(reader, number, what);
    } else {
      numbers[i] = static_cast<Wide>(number);
    }
  }
  return numbers;
}

std::vector<bool> read_bools(ByteReader& reader, uint64_t count,
                             const std::string& what) {
  const auto bytes = reader.take(count, what);
  std::vector<bool> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    values[i] = checked_bool(reader, static_cast<uint8_t>(bytes[i]), what);
  }
  return values;
}

std::vector<std::string_view> read_strings(ByteReader& reader, uint64_t count,
                                           const std::string& what) {
  reader.expect_room(count, kStringLengthBytes, what);
  std::vector<std::string_view> strings;
  strings.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    strings.push_back(reader.read_string(what));
  }
  return strings;
}

[[noreturn]] void fail_type(const ByteReader& reader, uint32_t type,
                            const std::string& what) {
  reader.fail(what + ": unknown value type " + std::to_string(type) +
              ", expected 0 to 12");
}

GgufArray read_array(ByteReader& reader, const std::string& what) {
  const auto type = reader.read<uint32_t>(what);
  const auto count = reader.read<uint64_t>(what);
  switch (type) {
    case kU8:
      return read_numbers<uint8_t, int64_t>(reader, count, what);
    case kI8:
      return read_numbers<int8_t, int64_t>(reader, count, what);
    case kU16:
      return read_numbers<uint16_t, int64_t>(reader, count, what);
    case kI16:
      return read_numbers<int16_t, int64_t>(reader, count, what);
    case kU32:
      return read_numbers<uint32_t, int64_t>(reader, count, what);
    case kI32:
      return read_numbers<int32_t, int64_t>(reader, count, what);
    case kU64:
      return read_numbers<uint64_t, int64_t>(reader, count, what);
    case kI64:
      return read_numbers<int64_t, int64_t>(reader, count, what);
    case kF32:
      return read_numbers<float, double>(reader, count, what);
    case kF64:
      return read_numbers<double, double>(reader, count, what);
    case kBool:
      return read_bools(reader, count, what);
    case kString:
      return read_strings(reader, count, what);
    case kArray:  // no model uses one, and refusing here bounds the recursion
      reader.fail_unsupported(what + ": an array of arrays");
    default:
      fail_type(reader, type, what);
  }
}

GgufValue read_value(ByteReader& reader, const std::string& what) {
  const auto type = reader.read<uint32_t>(what);
  switch (type) {
    case kU8:
      return int64_t{reader.read<uint8_t>(what)};
    case kI8:
      return int64_t{reader.read<int8_t>(what)};
    case kU16:
      return int64_t{reader.read<uint16_t>(what)};
    case kI16:
      return int64_t{reader.read<int16_t>(what)};
    case kU32:
      return int64_t{reader.read<uint32_t>(what)};
    case kI32:
      return int64_t{reader.read<int32_t>(what)};
    case kU64:
      return checked_int(reader, reader.read<uint64_t>(what), what);
    case kI64:
      return reader.read<int64_t>(what);
    case kF32:
      return double{reader.read<float>(what)};
    case kF64:
      return reader.read<double>(what);
    case kBool:
      return checked_bool(reader, reader.read<uint8_t>(what), what);
    case kString:
      return reader.read_string(what);
    case kArray:
      return read_array(reader, what);
    default:
      fail_type(reader, type, what);
  }
}

}  // namespace

std::map<std::string, GgufValue, std::less<>> read_gguf_metadata(
    ByteReader& reader, uint64_t count,
    std::map<std::string, std::span<const std::byte>, std::less<>>& raw) {
  reader.expect_room(count, kMinPairBytes, "metadata");
  std::map<std::string, GgufValue, std::less<>> metadata;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key =
        reader.read_string("key " + std::to_string(i) + " of the metadata");
    const std::string what = "key " + quote(key);
    if (key.size() > kMaxKeyBytes) {
      reader.fail(what + ": " + std::to_string(key.size()) +
                  " bytes long, expected at most " +
                  std::to_string(kMaxKeyBytes));
    }
    const uint64_t begin = reader.position();
    GgufValue value = read_value(reader, what);
    raw.emplace(key, reader.since(begin));
    if (!metadata.emplace(key, std::move(value)).second) {
      reader.fail(what + ": appears twice");
    }
  }
  return metadata;
}

std::string gguf_kind(const GgufValue& value) {
  constexpr std::array kScalars = {"an integer", "a float", "a boolean",
                                   "a string"};
  constexpr std::array kArrays = {"an array of integers", "an array of floats",
                                  "an array of booleans",
                                  "an array of strings"};
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    return kArrays.at(array->index());
  }
  return kScalars.at(value.index());
}

}  // namespace carat
