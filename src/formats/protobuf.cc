#include "formats/protobuf.h"

#include <cstring>

#include "carat/error.h"

namespace carat {

bool ProtobufReader::next() {
  if (rest_.empty()) return false;
  const uint64_t tag = take_varint();
  constexpr uint64_t kMaxField = (uint64_t{1} << 29) - 1;
  if (tag >> 3 == 0 || tag >> 3 > kMaxField) {
    fail("field " + std::to_string(tag >> 3) + "; expected 1 to 2^29 - 1");
  }
  field_ = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case 0:
      wire_ = Wire::kVarint;
      number_ = take_varint();
      break;
    case 1:
      wire_ = Wire::kI64;
      bytes_ = take(8);
      break;
    case 2:
      wire_ = Wire::kBytes;
      bytes_ = take(take_varint());
      break;
    case 5:
      wire_ = Wire::kI32;
      bytes_ = take(4);
      break;
    default:
      fail("field " + std::to_string(field_) + " has wire type " +
           std::to_string(tag & 7) + "; expected 0, 1, 2 or 5");
  }
  return true;
}

uint64_t ProtobufReader::varint() const {
  require_wire(Wire::kVarint);
  return number_;
}

float ProtobufReader::float32() const {
  require_wire(Wire::kI32);
  uint32_t bits = 0;  // little-endian
  for (size_t i = 4; i-- > 0;) {
    bits = (bits << 8) | static_cast<uint32_t>(bytes_[i]);
  }
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

std::span<const std::byte> ProtobufReader::bytes() const {
  require_wire(Wire::kBytes);
  return bytes_;
}

std::string_view ProtobufReader::text() const {
  require_wire(Wire::kBytes);
  return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
}

void ProtobufReader::fail(const std::string& problem) const {
  throw Error(ErrorCode::kCorrupt, name_ + ": not a protobuf: " + problem);
}

void ProtobufReader::require_wire(Wire wire) const {
  if (wire_ == wire) return;
  fail("field " + std::to_string(field_) + " has wire type " +
       std::to_string(static_cast<int>(wire_)) + "; expected " +
       std::to_string(static_cast<int>(wire)));
}

uint64_t ProtobufReader::take_varint() {
  uint64_t value = 0;
  for (size_t i = 0; i < 10; ++i) {
    if (i == rest_.size()) fail("it ends inside a number");
    const auto byte = static_cast<uint64_t>(rest_[i]);
    value |= (byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      rest_ = rest_.subspan(i + 1);
      return value;
    }
  }
  fail("a number of more than ten bytes");
}

std::span<const std::byte> ProtobufReader::take(uint64_t count) {
  if (count > rest_.size()) {
    fail("field " + std::to_string(field_) + " has " + std::to_string(count) +
         " bytes, and " + std::to_string(rest_.size()) + " are left");
  }
  const auto taken = rest_.first(static_cast<size_t>(count));
  rest_ = rest_.subspan(taken.size());
  return taken;
}

}  // namespace carat
