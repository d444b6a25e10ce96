#include "text/token_table.h"

#include <algorithm>
#include <array>
#include <utility>

namespace carat {
namespace {

// Converters leave these user-defined in some files. The reference takes them
// for control tokens: text may not write them unless special tokens are parsed.
constexpr std::array<std::string_view, 2> kControlByName = {"<end_of_turn>",
                                                            "</s>"};

constexpr std::array<std::string_view, 5> kTurnEnds = {
    "<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>",
    "<|end_of_text|>"};

AddedTokens find_added(const std::vector<std::string_view>& pieces,
                       const std::vector<TokenKind>& kinds) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (kinds[i] != TokenKind::kAdded && kinds[i] != TokenKind::kSpecial) {
      continue;
    }
    const bool by_name = std::find(kControlByName.begin(), kControlByName.end(),
                                   pieces[i]) != kControlByName.end();
    added.push_back({pieces[i], static_cast<int32_t>(i),
                     kinds[i] == TokenKind::kSpecial || by_name});
  }
  return AddedTokens(std::move(added));
}

}  // namespace

void add_pieces(const std::vector<std::string_view>& pieces,
                TokenTable& table) {
  size_t bytes = 0;
  for (const std::string_view piece : pieces) bytes += piece.size();
  table.vocabulary.reserve(pieces.size(), bytes);
  for (const std::string_view piece : pieces) table.vocabulary.add(piece);
  std::vector<bool> mergeable(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    mergeable[i] = table.kinds[i] == TokenKind::kText ||
                   table.kinds[i] == TokenKind::kAdded;
  }
  table.vocabulary.build_index(mergeable);
  table.added = find_added(pieces, table.kinds);
}

void add_eos(int32_t id, TokenTable& table) {
  if (std::find(table.eos.begin(), table.eos.end(), id) == table.eos.end()) {
    table.eos.push_back(id);
  }
}

void add_turn_ends(TokenTable& table) {
  for (const std::string_view name : kTurnEnds) {
    const auto match = table.added.match(name, 0, /*parse_special=*/true);
    if (match && match->length == name.size() &&
        table.kinds[static_cast<size_t>(match->id)] == TokenKind::kSpecial) {
      add_eos(match->id, table);
    }
  }
}

}  // namespace carat
