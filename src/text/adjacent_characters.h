// Which characters ever stand side by side inside a piece.
#ifndef CARAT_TEXT_ADJACENT_CHARACTERS_H_
#define CARAT_TEXT_ADJACENT_CHARACTERS_H_

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace carat {

/// Where no piece holds two characters side by side, no merge can join them,
/// so text can be cut there and each part merged on its own: parts are about a
/// word long and stay in the fastest cache. A set of hashes: it may say yes
/// where the truth is no (the text is then cut less), never the reverse.
class AdjacentCharacters {
 public:
  explicit AdjacentCharacters(const Vocabulary& vocabulary);

  /// Each is one character as claimed_length() splits text (1 to 4 bytes).
  bool may_join(std::string_view left, std::string_view right) const {
    const uint64_t bit = slot(left, right);
    return ((bits_[bit / 64] >> (bit % 64)) & 1) != 0;
  }

 private:
  uint64_t slot(std::string_view left, std::string_view right) const {
    uint32_t first = 0;
    uint32_t second = 0;
    std::memcpy(&first, left.data(), left.size());
    std::memcpy(&second, right.data(), right.size());
    const uint64_t key = (uint64_t{first} << 32) | second;
    return (key * 0x9E3779B97F4A7C15u) >> shift_;
  }

  std::vector<uint64_t> bits_;
  int shift_ = 0;  // leaves as many bits of a hash as bits_ has to index
};

}  // namespace carat

#endif  // CARAT_TEXT_ADJACENT_CHARACTERS_H_
