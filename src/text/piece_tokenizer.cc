#include "text/piece_tokenizer.h"

#include <utility>

#include "base/require.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace carat {

PieceTokenizer::PieceTokenizer(TokenTable table, bool cut_text)
    : table_(std::move(table)) {
  byte_ids_.fill(Vocabulary::kNone);
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (table_.kinds[static_cast<size_t>(id)] != TokenKind::kByte) continue;
    byte_ids_[*parse_byte_piece(table_.vocabulary.piece(id))] = id;
  }
  if (cut_text) adjacent_.emplace(table_.vocabulary);
}

std::vector<int32_t> PieceTokenizer::encode(
    std::string_view text, const EncodeOptions& options) const {
  // Spelled with three bytes a space, it must fit 32-bit offsets.
  require(text.size() <= size_t{1} << 30, "encode: text is longer than 1 GiB");
  Encoding encoding;
  std::string spelled;
  if (options.add_bos && table_.bos) encoding.emit(*table_.bos);
  size_t begin = 0;
  bool space_prefix = table_.add_space_prefix;
  const auto encode_until = [&](size_t end) {
    if (begin == end) return;
    encode_between_added(text.substr(begin, end - begin), space_prefix, spelled,
                         encoding);
    space_prefix = false;
  };
  for (size_t at = 0; at < text.size();) {
    const auto match = table_.added.match(text, at, options.parse_special);
    if (!match) {
      ++at;
      continue;
    }
    encode_until(at);
    encoding.emit(match->id);
    at += match->length;
    begin = at;
    space_prefix = table_.add_space_prefix;
  }
  encode_until(text.size());
  return std::move(encoding.ids);
}

void PieceTokenizer::encode_between_added(std::string_view text,
                                          bool space_prefix,
                                          std::string& spelled,
                                          Encoding& encoding) const {
  if (table_.byte_level) return encode_words(text, spelled, encoding);
  spelled.clear();
  if (space_prefix) spelled += kSpaceMark;
  for (const char byte : text) {
    if (byte == ' ') {
      spelled += kSpaceMark;
    } else {
      spelled += byte;
    }
  }
  const std::string_view all = spelled;
  if (!adjacent_) return encode_part(all, encoding);
  size_t begin = 0;
  std::string_view left = all.substr(0, claimed_length(all, 0));
  for (size_t at = left.size(); at < all.size();) {
    const std::string_view right = all.substr(at, claimed_length(all, at));
    if (!adjacent_->may_join(left, right)) {
      encode_part(all.substr(begin, at - begin), encoding);
      begin = at;
    }
    at += right.size();
    left = right;
  }
  encode_part(all.substr(begin), encoding);
}

void PieceTokenizer::encode_words(std::string_view text, std::string& spelled,
                                  Encoding& encoding) const {
  for (size_t at = 0; at < text.size();) {
    const size_t length = word_length(text, at, *table_.byte_level);
    spelled.clear();
    append_spelled_bytes(text.substr(at, length), spelled);
    at += length;
    const int32_t whole = table_.prefer_whole_words
                              ? table_.vocabulary.find(spelled)
                              : Vocabulary::kNone;
    if (whole != Vocabulary::kNone) {
      encoding.emit(whole);
    } else {
      encode_part(spelled, encoding);
    }
  }
}

void PieceTokenizer::emit_unknown(Encoding& encoding) const {
  if (!table_.unknown) return;
  if (table_.fuse_unknown && encoding.after_unknown) return;
  encoding.emit(*table_.unknown);
  encoding.after_unknown = true;
}

std::string PieceTokenizer::decode(std::span<const int32_t> ids,
                                   bool skip_special) const {
  std::string text;
  if (table_.byte_level) {
    std::string all;
    for (const int32_t id : ids) {
      if (skip_special && is_special(id)) continue;
      checked(id);
      append_bytes(id, all);
    }
    append_valid(all, text);
    return text;
  }
  std::string run;  // of byte tokens
  const auto end_run = [&] {
    if (is_utf8(run)) {
      text += run;
    } else {
      // As the reference: every byte of the run, those of whole characters too.
      for (size_t i = 0; i < run.size(); ++i) text += kReplacement;
    }
    run.clear();
  };
  std::string bytes;
  for (const int32_t id : ids) {
    const TokenKind kind = table_.kinds[checked(id)];
    if (skip_special && kind == TokenKind::kSpecial) continue;
    if (kind == TokenKind::kByte) {
      append_bytes(id, run);
      continue;
    }
    end_run();
    bytes.clear();
    append_bytes(id, bytes);
    append_valid(bytes, text);
  }
  end_run();
  return text;
}

std::string_view PieceTokenizer::piece(int32_t id) const {
  checked(id);
  return table_.vocabulary.piece(id);
}

std::string PieceTokenizer::bytes(int32_t id) const {
  checked(id);
  std::string out;
  append_bytes(id, out);
  return out;
}

bool PieceTokenizer::is_byte(int32_t id) const {
  return table_.kinds[checked(id)] == TokenKind::kByte;
}

bool PieceTokenizer::is_special(int32_t id) const {
  return table_.kinds[checked(id)] == TokenKind::kSpecial;
}

size_t PieceTokenizer::checked(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "token id " + std::to_string(id) + ": expected 0 to " +
                    std::to_string(vocab_size() - 1));
  }
  return static_cast<size_t>(id);
}

void PieceTokenizer::append_bytes(int32_t id, std::string& out) const {
  const std::string_view piece = table_.vocabulary.piece(id);
  if (table_.kinds[static_cast<size_t>(id)] == TokenKind::kByte) {
    out += static_cast<char>(*parse_byte_piece(piece));
    return;
  }
  if (table_.byte_level) {
    if (table_.kinds[static_cast<size_t>(id)] == TokenKind::kText) {
      append_unspelled_bytes(piece, out);
    } else {
      out += piece;
    }
    return;
  }
  size_t at = 0;
  for (size_t mark; (mark = piece.find(kSpaceMark, at)) != piece.npos;
       at = mark + kSpaceMark.size()) {
    out += piece.substr(at, mark - at);
    out += ' ';
  }
  out += piece.substr(at);
}

}  // namespace carat
