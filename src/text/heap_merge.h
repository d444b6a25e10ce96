// Byte-pair merging: the best pair of neighbours first, ties leftmost.
#ifndef CARAT_TEXT_HEAP_MERGE_H_
#define CARAT_TEXT_HEAP_MERGE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace carat {

/// A stretch of text that is, so far, one token. Neighbours are linked so that
/// merging costs no moves; a merged right half is left with length 0.
struct Symbol {
  int32_t previous = -1;
  int32_t next = -1;
  uint32_t begin = 0;
  uint32_t length = 0;
  int32_t id = -1;  // -1: no token is spelled so
};

/// What two neighbours would become. Lower ranks merge first.
struct Merge {
  uint32_t rank;
  int32_t id;
};

/// A merge that was possible when it was found.
struct MergeCandidate {
  uint32_t rank;
  int32_t left;
  uint32_t length;  // of both halves: tells whether it is still possible
  int32_t id;

  bool operator<(const MergeCandidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

/// Appends a symbol to a chain that merge_symbols() takes.
inline void append_symbol(std::vector<Symbol>& symbols, uint32_t begin,
                          uint32_t length, int32_t id) {
  const auto index = static_cast<int32_t>(symbols.size());
  if (index > 0) symbols.back().next = index;
  symbols.push_back({index - 1, -1, begin, length, id});
}

/// Merges `symbols` (a chain from 0) until no neighbours can merge.
/// `find(left, right)` gives the std::optional<Merge> of two symbols. `heap` is
/// scratch memory, kept by the caller to be reused.
/// O(n log n) for n symbols, each of which is looked up at most three times.
template <typename FindMerge>
void merge_symbols(std::vector<Symbol>& symbols,
                   std::vector<MergeCandidate>& heap, const FindMerge& find) {
  heap.clear();
  const auto candidate = [&](int32_t left) -> std::optional<MergeCandidate> {
    const Symbol& l = symbols[static_cast<size_t>(left)];
    if (l.next < 0) return std::nullopt;
    const Symbol& r = symbols[static_cast<size_t>(l.next)];
    const std::optional<Merge> merge = find(l, r);
    if (!merge) return std::nullopt;
    return MergeCandidate{merge->rank, left, l.length + r.length, merge->id};
  };
  const auto push = [&](int32_t left) {
    if (const auto found = candidate(left)) {
      heap.push_back(*found);
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    if (const auto found = candidate(static_cast<int32_t>(i))) {
      heap.push_back(*found);
    }
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const MergeCandidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    // Halves only ever grow: the same length means the same two symbols.
    if (left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].previous = best.left;
    }
    if (left.previous >= 0) push(left.previous);
    push(best.left);
  }
}

}  // namespace carat

#endif  // CARAT_TEXT_HEAP_MERGE_H_
