#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "carat/error.h"
#include "text/hash.h"

namespace carat {

void Vocabulary::reserve(size_t pieces, size_t bytes) {
  ends_.reserve(pieces);
  text_.reserve(bytes);
}

void Vocabulary::add(std::string_view piece) {
  if (ends_.size() >= std::numeric_limits<int32_t>::max() ||
      piece.size() > std::numeric_limits<uint32_t>::max() - text_.size()) {
    throw Error(ErrorCode::kUnsupported,
                "vocabulary: more than 2^31 - 1 pieces or 4 GiB of text");
  }
  text_ += piece;
  ends_.push_back(static_cast<uint32_t>(text_.size()));
}

std::optional<int32_t> Vocabulary::build_index(
    const std::vector<bool>& findable) {
  const auto count =
      static_cast<size_t>(std::count(findable.begin(), findable.end(), true));
  slots_.assign(std::bit_ceil(count * 2 + 2), Slot{});
  longest_ = 0;
  std::optional<int32_t> loser;
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view text = piece(id);
    if (!findable[static_cast<size_t>(id)] || text.empty()) continue;
    longest_ = std::max(longest_, text.size());
    const uint64_t hash = hash_text(text);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & mask;
    while (slots_[at].id != kNone &&
           (slots_[at].tag != tag || piece(slots_[at].id) != text)) {
      at = (at + 1) & mask;
    }
    if (slots_[at].id != kNone) loser = slots_[at].id;
    slots_[at] = {tag, id};
  }
  return loser;
}

int32_t Vocabulary::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_) return kNone;
  const uint64_t hash = hash_text(text);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].id != kNone; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && piece(slots_[at].id) == text) {
      return slots_[at].id;
    }
  }
  return kNone;
}

std::optional<uint8_t> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') {
    return std::nullopt;
  }
  int value = 0;
  for (const char digit : piece.substr(3, 2)) {
    value *= 16;
    if (digit >= '0' && digit <= '9') {
      value += digit - '0';
    } else if (digit >= 'A' && digit <= 'F') {
      value += digit - 'A' + 10;
    } else if (digit >= 'a' && digit <= 'f') {
      value += digit - 'a' + 10;
    } else {
      return std::nullopt;
    }
  }
  return static_cast<uint8_t>(value);
}

}  // namespace carat
