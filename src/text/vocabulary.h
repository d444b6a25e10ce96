// The pieces of a vocabulary, flat in memory, and the look-up by spelling.
#ifndef CARAT_TEXT_VOCABULARY_H_
#define CARAT_TEXT_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

/// Pieces by id and ids by piece. Three allocations, whatever the number of
/// pieces. Thread-safe once built.
class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  void reserve(size_t pieces, size_t bytes);

  /// Gives `piece` the next id.
  /// Throws: Error{kUnsupported} beyond 2^31 - 1 pieces or 4 GiB.
  void add(std::string_view piece);

  /// Makes find() know every id with `findable[id]` and a piece that is not
  /// empty. Of pieces spelled alike the last one is found; returns an id that
  /// lost to a later one, if there is any.
  std::optional<int32_t> build_index(const std::vector<bool>& findable);

  int32_t size() const { return static_cast<int32_t>(ends_.size()); }

  /// `id` must be in [0, size()).
  std::string_view piece(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(text_).substr(begin, ends_[i] - begin);
  }

  /// The id of `piece`, or kNone.
  int32_t find(std::string_view piece) const;

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t id = kNone;
  };

  std::string text_;
  std::vector<uint32_t> ends_;
  std::vector<Slot> slots_;  // open addressing, a power of two, half full
  size_t longest_ = 0;       // of the findable pieces
};

/// The byte that a piece spelled `<0xNN>` stands for.
std::optional<uint8_t> parse_byte_piece(std::string_view piece);

}  // namespace carat

#endif  // CARAT_TEXT_VOCABULARY_H_
