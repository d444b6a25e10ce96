#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "text/hash.h"
#include "text/utf8.h"

namespace carat {

void MergeTable::reserve(size_t merges) {
  slots_.assign(std::bit_ceil(merges * 2 + 2), Slot{});
}

size_t MergeTable::slot(int32_t left, int32_t right) const {
  const uint64_t key = (uint64_t{static_cast<uint32_t>(left)} << 32) |
                       static_cast<uint32_t>(right);
  const size_t mask = slots_.size() - 1;
  size_t at = mix_bits(key) & mask;
  while (slots_[at].left >= 0 &&
         (slots_[at].left != left || slots_[at].right != right)) {
    at = (at + 1) & mask;
  }
  return at;
}

void MergeTable::add(int32_t left, int32_t right, Merge merge) {
  slots_[slot(left, right)] = {left, right, merge};
}

std::optional<Merge> MergeTable::find(int32_t left, int32_t right) const {
  const Slot& found = slots_[slot(left, right)];
  if (found.left < 0) return std::nullopt;
  return found.merge;
}

BpeTokenizer::BpeTokenizer(TokenTable table, MergeTable merges, bool cut_text)
    : PieceTokenizer(std::move(table), cut_text), merges_(std::move(merges)) {}

void BpeTokenizer::encode_part(std::string_view text,
                               Encoding& encoding) const {
  auto& symbols = encoding.symbols;
  symbols.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t length = claimed_length(text, at);
    append_character(text, at, length, symbols);
    at += length;
  }
  if (symbols.empty()) return;
  merge_symbols(symbols, encoding.heap,
                [&](const Symbol& left, const Symbol& right) {
                  return merges_.find(left.id, right.id);
                });
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const int32_t id = symbols[static_cast<size_t>(i)].id;
    if (id == table().unknown) {
      emit_unknown(encoding);
    } else {
      encoding.emit(id);
    }
  }
}

/// A character is one symbol, or else one for each of its bytes, or else the
/// unknown token, or else nothing.
void BpeTokenizer::append_character(std::string_view text, size_t at,
                                    size_t length,
                                    std::vector<Symbol>& symbols) const {
  const std::string_view character = text.substr(at, length);
  const auto begin = static_cast<uint32_t>(at);
  const auto size = static_cast<uint32_t>(length);
  const int32_t id = table().vocabulary.find(character);
  if (id != Vocabulary::kNone) return append_symbol(symbols, begin, size, id);
  if (std::all_of(character.begin(), character.end(), [&](char byte) {
        return byte_id(byte) != Vocabulary::kNone;
      })) {
    for (uint32_t i = 0; i < size; ++i) {
      append_symbol(symbols, begin + i, 1, byte_id(character[i]));
    }
    return;
  }
  if (!table().unknown) return;
  if (table().fuse_unknown && !symbols.empty() &&
      symbols.back().id == *table().unknown) {
    symbols.back().length += size;
    return;
  }
  append_symbol(symbols, begin, size, *table().unknown);
}

}  // namespace carat
