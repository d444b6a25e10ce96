// Text <-> token ids, byte for byte as the model was trained.
#ifndef CARAT_TOKENIZER_H_
#define CARAT_TOKENIZER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

struct EncodeOptions {
  /// Put the BOS token in front where the model's tokenizer asks for it.
  bool add_bos = true;
  /// Match special (control) tokens written in the text, such as
  /// `<start_of_turn>`; off, they are spelled out as ordinary text.
  bool parse_special = true;
};

/// A model's vocabulary. Immutable after construction; thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of `text`, linear in its length. Bytes that are not UTF-8 are
  /// accepted (byte fallback).
  virtual std::vector<int32_t> encode(
      std::string_view text, const EncodeOptions& options = {}) const = 0;

  /// The text of `ids`, always UTF-8. In a run of byte tokens that is not
  /// UTF-8 as a whole, every byte becomes U+FFFD. `skip_special` leaves out
  /// special tokens.
  /// Throws: Error{kInvalidArgument} for an id outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> ids,
                             bool skip_special = false) const = 0;

  /// How the vocabulary spells `id` (U+2581 for a space, `<0x0A>` for a byte).
  /// Throws: Error{kInvalidArgument} for an id outside the vocabulary.
  virtual std::string_view piece(int32_t id) const = 0;

  /// The bytes that `id` stands for in running text: spaces instead of U+2581,
  /// the one byte of a byte token, the spelling of a special token.
  /// Throws: Error{kInvalidArgument} for an id outside the vocabulary.
  virtual std::string bytes(int32_t id) const = 0;

  /// A token that stands for one byte, part of some character's UTF-8.
  virtual bool is_byte(int32_t id) const = 0;
  /// Whether any token may end inside a character (byte-level BPE). decode()
  /// then joins all bytes first, and U+FFFD stands for each longest part that
  /// can't be UTF-8.
  virtual bool splits_characters() const { return false; }
  /// A special (control) token: no text of its own.
  virtual bool is_special(int32_t id) const = 0;

  /// Ids are in [0, vocab_size()).
  virtual int32_t vocab_size() const = 0;
  /// Put in front by encode() with add_bos; nullopt if the model has none or
  /// its tokenizer does not add it.
  virtual std::optional<int32_t> bos() const = 0;
  /// Ids that end a generation (EOS, end of turn); may be empty.
  virtual std::span<const int32_t> eos() const = 0;
};

/// Turns a stream of ids into text as early as possible, never emitting part
/// of a character. Not thread-safe; `tokenizer` must outlive it.
class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(const Tokenizer& tokenizer,
                                bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  /// What may be printed after `id`; empty while a character is unfinished.
  /// Throws: Error{kInvalidArgument} for an id outside the vocabulary.
  std::string push(int32_t id);

  /// The rest: held-back bytes that never became a character, as U+FFFD.
  /// All push() results and finish() joined equal Tokenizer::decode, but for
  /// one case: whole characters spelled in byte tokens have been given out
  /// before stray bytes in the same run, which make decode() replace them too.
  std::string finish();

 private:
  // Of held_, all but the beginning of a character.
  std::string take_complete();

  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;         // bytes that await their character's end
  bool broken_run_ = false;  // this run of byte tokens can't become UTF-8
};

}  // namespace carat

#endif  // CARAT_TOKENIZER_H_
