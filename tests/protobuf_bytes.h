// Fields of protocol buffers, written byte by byte, for tests that need a
// tokenizer.model.
#ifndef CARAT_TESTS_PROTOBUF_BYTES_H_
#define CARAT_TESTS_PROTOBUF_BYTES_H_

#include <bit>
#include <cstdint>
#include <string>

namespace carat {

inline void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) {
    out += static_cast<char>((value & 0x7F) | 0x80);
  }
  out += static_cast<char>(value);
}
inline void put(std::string& out, uint32_t field, uint64_t value) {
  put_varint(out, field << 3);
  put_varint(out, value);
}
inline void put(std::string& out, uint32_t field, const std::string& bytes) {
  put_varint(out, (field << 3) | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
inline void put(std::string& out, uint32_t field, float value) {
  put_varint(out, (field << 3) | 5);
  const auto bits = std::bit_cast<uint32_t>(value);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i));
}

}  // namespace carat

#endif  // CARAT_TESTS_PROTOBUF_BYTES_H_
