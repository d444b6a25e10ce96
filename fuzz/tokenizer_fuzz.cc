// Any bytes are either a tokenizer.json that can be used, or an Error; and any
// bytes can be encoded, decoded and streamed.
//
//   cmake --preset fuzz && cmake --build --preset fuzz
//   mkdir -p corpus && build/fuzz/tokenizer_fuzz -max_len=65536 corpus
//
// The first byte modulo 3 picks what the rest is: 0, a tokenizer.json; 1, text
// for a small vocabulary; 2, a tokenizer.model. Broken files to start from are
// in the golden data (malformed-inputs/tokenizer), each with a byte put in
// front.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "carat/error.h"
#include "carat/tokenizer.h"
#include "text/spm_tokenizer.h"
#include "text/tokenizer_loader.h"
#include "text/utf8.h"

namespace {

using carat::EncodeOptions;
using carat::Tokenizer;

void check(bool condition) {
  if (!condition) std::abort();
}

/// Ids to bytes with the rule the header gives for streams: whole characters
/// of a run of byte tokens, and every byte from the first stray one on.
std::string expected_stream(const Tokenizer& tokenizer,
                            std::span<const int32_t> ids, bool& as_decode) {
  std::string text;
  std::string run;
  if (tokenizer.splits_characters()) {
    for (const int32_t id : ids) run += tokenizer.bytes(id);
    carat::append_valid(run, text);
    return text;
  }
  const auto end_run = [&] {
    size_t at = 0;
    for (size_t length = 0; at < run.size(); at += length) {
      const std::string_view rest = std::string_view(run).substr(at);
      if (carat::classify_utf8(rest, length) != carat::Utf8State::kComplete) {
        if (at > 0) as_decode = false;
        break;
      }
      text += rest.substr(0, length);
    }
    for (; at < run.size(); ++at) text += carat::kReplacement;
    run.clear();
  };
  for (const int32_t id : ids) {
    if (tokenizer.is_byte(id)) {
      run += tokenizer.bytes(id);
      continue;
    }
    end_run();
    carat::append_valid(tokenizer.bytes(id), text);
  }
  end_run();
  return text;
}

void decode(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  const std::string decoded = tokenizer.decode(ids);
  check(carat::is_utf8(decoded));
  check(carat::is_utf8(tokenizer.decode(ids, true)));
  carat::StreamingDetokenizer stream(tokenizer);
  std::string joined;
  for (const int32_t id : ids) {
    const std::string chunk = stream.push(id);
    check(carat::is_utf8(chunk));
    joined += chunk;
  }
  joined += stream.finish();
  bool as_decode = true;
  check(joined == expected_stream(tokenizer, ids, as_decode));
  if (as_decode) check(joined == decoded);
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text,
                            const EncodeOptions& options) {
  std::vector<int32_t> ids = tokenizer.encode(text, options);
  for (const int32_t id : ids) check(id >= 0 && id < tokenizer.vocab_size());
  decode(tokenizer, ids);
  return ids;
}

void read_file(std::string_view text, bool is_json) {
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    tokenizer = is_json ? carat::load_json_tokenizer(
                              std::as_bytes(std::span(text)), "input")
                        : carat::load_sentencepiece_tokenizer(
                              std::as_bytes(std::span(text)), "input");
  } catch (const carat::Error&) {
    return;
  }
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    encode(*tokenizer, tokenizer->piece(id), {});
  }
  encode(*tokenizer, text, {});
}

/// Every byte token, some pieces that overlap, added tokens and specials.
std::unique_ptr<Tokenizer> small_tokenizer() {
  carat::TokenTable table;
  std::vector<float> scores;
  std::vector<bool> findable;
  std::vector<std::string> texts;
  std::vector<carat::AddedToken> added;
  const auto add = [&](const std::string& piece, carat::TokenKind kind,
                       float score) {
    texts.push_back(piece);
    table.vocabulary.add(piece);
    table.kinds.push_back(kind);
    scores.push_back(score);
    findable.push_back(kind == carat::TokenKind::kText ||
                       kind == carat::TokenKind::kAdded);
  };
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">",
        carat::TokenKind::kByte, 0);
  }
  for (const char* piece : {"<bos>", "<eos>", "<a>"}) {
    add(piece, carat::TokenKind::kSpecial, 0);
  }
  for (const char* piece : {"\n", "\n\n", "  ", "<a", "ab\n"}) {
    add(piece, carat::TokenKind::kAdded, -9);
  }
  float score = 0;
  for (const char* piece : {"\xE2\x96\x81",
                            "\xE2\x96\x81\xE2\x96\x81",
                            "\xE2\x96\x81"
                            "a",
                            "a",
                            "b",
                            "ab",
                            "ba",
                            "aba",
                            "aa",
                            "aaaa",
                            "bab",
                            "\xC3\xA9",
                            "\xC3\xA9\xC3\xA9",
                            "a\xC3\xA9",
                            "<",
                            "0",
                            "x",
                            "<0",
                            "<0x",
                            ">"}) {
    add(piece, carat::TokenKind::kText, score);
    score = score < -3 ? 0 : score - 1;  // ties, and no order that helps
  }
  for (size_t id = 256; id < 264; ++id) {
    added.push_back({texts[id], static_cast<int32_t>(id), id < 259});
  }
  table.added = carat::AddedTokens(added);
  table.vocabulary.build_index(findable);
  table.bos = 256;
  table.eos = {257};
  return std::make_unique<carat::SpmTokenizer>(std::move(table), scores);
}

void use_text(std::string_view text) {
  static const std::unique_ptr<Tokenizer> tokenizer = small_tokenizer();
  for (const bool parse_special : {false, true}) {
    const auto ids = encode(*tokenizer, text,
                            {.add_bos = false, .parse_special = parse_special});
    if (carat::is_utf8(text) && text.find(carat::kSpaceMark) == text.npos) {
      check(tokenizer->decode(ids) == text);
    }
  }
  // The bytes as ids.
  std::vector<int32_t> ids;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    const int value = static_cast<unsigned char>(text[i]) * 256 +
                      static_cast<unsigned char>(text[i + 1]);
    ids.push_back(value % tokenizer->vocab_size());
  }
  decode(*tokenizer, ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1),
                              size - 1);
  if (data[0] % 3 == 1) {
    use_text(text);
  } else {
    read_file(text, /*is_json=*/data[0] % 3 == 0);
  }
  return 0;
}
