#include "text/added_tokens.h"

#include <algorithm>

namespace carat {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  std::stable_sort(
      tokens.begin(), tokens.end(),
      [](const auto& a, const auto& b) { return a.text < b.text; });
  // Breadth first: each node is a range of sorted tokens that share `depth`
  // bytes, so that a node's children get consecutive numbers.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, tokens.size(), 0}};
  nodes_.emplace_back();
  for (size_t n = 0; n < ranges.size(); ++n) {
    auto [begin, end, depth] = ranges[n];
    while (begin < end && tokens[begin].text.size() == depth) {
      if (depth > 0) {
        nodes_[n].id = tokens[begin].id;
        nodes_[n].control = tokens[begin].control;
      }
      ++begin;
    }
    nodes_[n].first_edge = static_cast<uint32_t>(edges_.size());
    while (begin < end) {
      const char byte = tokens[begin].text[depth];
      size_t next = begin;
      while (next < end && tokens[next].text[depth] == byte) ++next;
      edges_.push_back(static_cast<unsigned char>(byte));
      ranges.push_back({begin, next, depth + 1});
      nodes_.emplace_back();
      begin = next;
    }
    nodes_[n].edge_count =
        static_cast<uint16_t>(edges_.size() - nodes_[n].first_edge);
  }
  for (int byte = 0; byte < 256; ++byte) {
    roots_[static_cast<size_t>(byte)] =
        child(nodes_[0], static_cast<unsigned char>(byte));
  }
}

uint32_t AddedTokens::child(const Node& node, unsigned char byte) const {
  const auto begin = edges_.begin() + node.first_edge;
  const auto end = begin + node.edge_count;
  const auto found = std::lower_bound(begin, end, byte);
  if (found == end || *found != byte) return 0;
  return static_cast<uint32_t>(found - edges_.begin()) + 1;
}

std::optional<AddedTokens::Match> AddedTokens::match(std::string_view text,
                                                     size_t at,
                                                     bool parse_special) const {
  std::optional<Match> longest;
  uint32_t n = roots_[static_cast<unsigned char>(text[at])];
  for (size_t length = 1; n != 0; ++length) {
    const Node& node = nodes_[n];
    if (node.id >= 0 && (parse_special || !node.control)) {
      longest = Match{node.id, length};
    }
    if (at + length == text.size()) break;
    n = child(node, static_cast<unsigned char>(text[at + length]));
  }
  return longest;
}

}  // namespace carat
