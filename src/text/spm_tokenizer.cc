#include "text/spm_tokenizer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "text/utf8.h"

namespace carat {
namespace {

/// An integer that is lower for a higher score, equal for equal ones.
uint32_t rank_of_score(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes +0
  return (bits >> 31) != 0 ? bits : ~bits & 0x7FFFFFFFu;
}

}  // namespace

SpmTokenizer::SpmTokenizer(TokenTable table, const std::vector<float>& scores)
    : PieceTokenizer(std::move(table), /*cut_text=*/true),
      ranks_(scores.size()) {
  std::transform(scores.begin(), scores.end(), ranks_.begin(), rank_of_score);
}

void SpmTokenizer::encode_part(std::string_view text,
                               Encoding& encoding) const {
  auto& symbols = encoding.symbols;
  const Vocabulary& vocabulary = table().vocabulary;
  symbols.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t length = claimed_length(text, at);
    append_symbol(symbols, static_cast<uint32_t>(at),
                  static_cast<uint32_t>(length), Vocabulary::kNone);
    at += length;
  }
  merge_symbols(
      symbols, encoding.heap,
      [&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
        const int32_t id = vocabulary.find(
            text.substr(left.begin, left.length + right.length));
        if (id == Vocabulary::kNone) return std::nullopt;
        return Merge{ranks_[static_cast<size_t>(id)], id};
      });
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& symbol = symbols[static_cast<size_t>(i)];
    emit_symbol(text.substr(symbol.begin, symbol.length), symbol.id, encoding);
  }
}

void SpmTokenizer::emit_symbol(std::string_view text, int32_t id,
                               Encoding& encoding) const {
  if (id == Vocabulary::kNone) id = table().vocabulary.find(text);
  if (id != Vocabulary::kNone) return encoding.emit(id);
  if (!std::all_of(text.begin(), text.end(), [&](char byte) {
        return byte_id(byte) != Vocabulary::kNone;
      })) {
    return emit_unknown(encoding);
  }
  for (const char byte : text) encoding.emit(byte_id(byte));
}

}  // namespace carat
