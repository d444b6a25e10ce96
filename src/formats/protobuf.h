// Protocol Buffers' wire format: fields one after another, nothing more.
// Source: protobuf.dev, "Encoding".
#ifndef CARAT_FORMATS_PROTOBUF_H_
#define CARAT_FORMATS_PROTOBUF_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace carat {

/// Walks through one message without copying; a message inside is bytes(), for
/// a reader of its own. `name` stands for the file in messages; both must
/// outlive it. Whatever is read stays inside the message's bytes.
class ProtobufReader {
 public:
  ProtobufReader(std::span<const std::byte> message, const std::string& name)
      : rest_(message), name_(name) {}

  /// Goes on to the next field; false at the end.
  /// Throws: Error{kCorrupt} for what is no message (groups are not known).
  bool next();

  /// The field's number.
  uint32_t field() const { return field_; }

  /// The field's value. Throws: Error{kCorrupt} if it is of another wire type.
  uint64_t varint() const;
  bool boolean() const { return varint() != 0; }
  /// A negative int32 is stored in 64 bits; beyond its range it is cut to 32.
  int32_t int32() const { return static_cast<int32_t>(varint()); }
  float float32() const;
  std::span<const std::byte> bytes() const;
  std::string_view text() const;

 private:
  enum class Wire : uint8_t { kVarint = 0, kI64 = 1, kBytes = 2, kI32 = 5 };

  [[noreturn]] void fail(const std::string& problem) const;
  void require_wire(Wire wire) const;
  uint64_t take_varint();
  std::span<const std::byte> take(uint64_t count);

  std::span<const std::byte> rest_;
  const std::string& name_;
  uint32_t field_ = 0;
  Wire wire_ = Wire::kVarint;
  uint64_t number_ = 0;               // of a varint
  std::span<const std::byte> bytes_;  // of the others
};

}  // namespace carat

#endif  // CARAT_FORMATS_PROTOBUF_H_
