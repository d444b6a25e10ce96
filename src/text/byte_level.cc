#include "text/byte_level.h"

#include <array>
#include <cstdint>

namespace carat {
namespace {

constexpr int kSpellings = 324;  // code points below this spell bytes

struct Spellings {
  std::array<uint16_t, 256> point_of{};
  std::array<int16_t, kSpellings> byte_of{};  // -1: none
};

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
         byte >= 0xAE;
}

constexpr Spellings make_spellings() {
  Spellings result;
  for (int16_t& byte : result.byte_of) byte = -1;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const int point = is_printable(byte) ? byte : next++;
    result.point_of[static_cast<size_t>(byte)] = static_cast<uint16_t>(point);
    result.byte_of[static_cast<size_t>(point)] = static_cast<int16_t>(byte);
  }
  return result;
}

constexpr Spellings kTable = make_spellings();

}  // namespace

void append_spelled_bytes(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const unsigned point = kTable.point_of[static_cast<unsigned char>(c)];
    if (point < 0x80) {
      out += static_cast<char>(point);
    } else {
      out += static_cast<char>(0xC0 | (point >> 6));
      out += static_cast<char>(0x80 | (point & 0x3F));
    }
  }
}

void append_unspelled_bytes(std::string_view piece, std::string& out) {
  const size_t begin = out.size();
  for (size_t at = 0; at < piece.size();) {
    unsigned point = static_cast<unsigned char>(piece[at++]);
    if (point >= 0xC0 && point < 0xE0 && at < piece.size() &&
        (static_cast<unsigned char>(piece[at]) & 0xC0) == 0x80) {
      point = ((point & 0x1F) << 6) |
              (static_cast<unsigned char>(piece[at++]) & 0x3Fu);
    } else if (point >= 0x80) {
      point = kSpellings;
    }
    if (point >= kSpellings || kTable.byte_of[point] < 0) {
      out.resize(begin);
      out += piece;
      return;
    }
    out += static_cast<char>(kTable.byte_of[point]);
  }
}

}  // namespace carat
