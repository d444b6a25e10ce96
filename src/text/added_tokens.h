// Tokens that are matched on the raw text, before anything is merged.
#ifndef CARAT_TEXT_ADDED_TOKENS_H_
#define CARAT_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace carat {

/// One token to match. `control`: only where special tokens are parsed.
struct AddedToken {
  std::string_view text;
  int32_t id = 0;
  bool control = false;
};

/// Leftmost-longest matching by a trie; a match costs at most the longest
/// token's length. Thread-safe.
class AddedTokens {
 public:
  struct Match {
    int32_t id;
    size_t length;
  };

  AddedTokens() = default;
  /// Copies what it needs. Empty texts never match; of texts spelled alike the
  /// last one is found.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// The longest token that begins at `text[at]`.
  std::optional<Match> match(std::string_view text, size_t at,
                             bool parse_special) const;

 private:
  struct Node {
    uint32_t first_edge = 0;
    uint16_t edge_count = 0;
    bool control = false;
    int32_t id = -1;  // of the token that ends here
  };

  uint32_t child(const Node& node, unsigned char byte) const;

  std::vector<Node> nodes_;
  // Edges of all nodes, a node's own in a row and sorted by byte. An edge leads
  // to the node with its own number plus one.
  std::vector<unsigned char> edges_;
  std::array<uint32_t, 256> roots_{};  // by first byte; 0 = none
};

}  // namespace carat

#endif  // CARAT_TEXT_ADDED_TOKENS_H_
