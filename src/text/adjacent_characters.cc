#include "text/adjacent_characters.h"

#include <algorithm>
#include <bit>

#include "text/utf8.h"

namespace carat {

AdjacentCharacters::AdjacentCharacters(const Vocabulary& vocabulary) {
  // Sixteen bits a piece: about one false yes in a hundred with pieces of real
  // vocabularies, most of whose pairs are common ones. At most 512 KiB.
  const uint64_t bits =
      std::clamp(std::bit_ceil(uint64_t{16} *
                               static_cast<uint64_t>(vocabulary.size() + 1)),
                 uint64_t{1} << 10, uint64_t{1} << 22);
  bits_.assign(bits / 64, 0);
  shift_ = 64 - std::countr_zero(bits);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view piece = vocabulary.piece(id);
    if (piece.empty()) continue;
    size_t at = 0;
    size_t length = claimed_length(piece, 0);
    while (at + length < piece.size()) {
      const size_t next = at + length;
      const size_t next_length = claimed_length(piece, next);
      const uint64_t bit =
          slot(piece.substr(at, length), piece.substr(next, next_length));
      bits_[bit / 64] |= uint64_t{1} << (bit % 64);
      at = next;
      length = next_length;
    }
  }
}

}  // namespace carat
