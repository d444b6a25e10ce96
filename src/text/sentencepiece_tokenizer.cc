// The tokenizer of a tokenizer.model: SentencePiece's ModelProto, BPE models
// that normalise nothing. Whatever it does not know how to follow, it refuses.
// Source: SentencePiece 0.2, src/sentencepiece_model.proto.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "carat/error.h"
#include "formats/mapped_file.h"
#include "formats/protobuf.h"
#include "formats/quote.h"
#include "text/sentencepiece_model.h"
#include "text/spm_tokenizer.h"
#include "text/token_table.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

using Bytes = std::span<const std::byte>;

/// Reads one file; the functions are its messages.
class Loader {
 public:
  explicit Loader(std::string name) : name_(std::move(name)) {}

  SentencePieceModel parse(Bytes bytes);
  std::unique_ptr<Tokenizer> load(Bytes bytes, std::span<const int32_t> eos);

 private:
  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, name_ + ": " + problem);
  }
  [[noreturn]] void unsupported(const std::string& problem) const {
    fail(problem, ErrorCode::kUnsupported);
  }

  void read_piece(Bytes message);
  void read_trainer(Bytes message);
  void read_normalizer(Bytes message, const char* subject);
  void check() const;
  TokenKind kind_of(size_t i) const;
  std::optional<int32_t> special(int32_t id, const char* key) const;

  std::string name_;
  std::vector<std::string_view> pieces_;
  std::vector<float> scores_;
  std::vector<int64_t> types_;

  // trainer_spec and normalizer_spec, with their defaults.
  int32_t model_type_ = 1;
  bool byte_fallback_ = false;
  bool space_is_suffix_ = false;
  int32_t unk_ = 0, bos_ = 1, eos_ = 2, pad_ = -1;
  bool add_space_prefix_ = true;
  bool remove_extra_spaces_ = true;
  bool escape_spaces_ = true;
  std::string_view normalizer_;
};

void Loader::read_piece(Bytes message) {
  ProtobufReader reader(message, name_);
  std::string_view piece;
  float score = 0;
  int64_t type = kNormal;
  while (reader.next()) {
    if (reader.field() == 1) piece = reader.text();
    if (reader.field() == 2) score = reader.float32();
    if (reader.field() == 3) type = reader.int32();
  }
  const std::string subject = "piece " + std::to_string(pieces_.size());
  if (piece.empty()) fail(subject + " is empty");
  if (std::isnan(score)) fail(subject + ": its score is NaN");
  if (type < kNormal || type > kByte) {
    fail(subject + " is of type " + std::to_string(type) + "; expected 1 to 6");
  }
  if (pieces_.size() == std::numeric_limits<int32_t>::max()) {
    unsupported("more than 2^31 - 1 pieces");
  }
  constexpr float kMax = std::numeric_limits<float>::max();
  pieces_.push_back(piece);
  scores_.push_back(std::clamp(score, -kMax, kMax));
  types_.push_back(type);
}

void Loader::read_trainer(Bytes message) {
  ProtobufReader reader(message, name_);
  while (reader.next()) {
    switch (reader.field()) {
      case 3:
        model_type_ = reader.int32();
        break;
      case 24:
        space_is_suffix_ = reader.boolean();
        break;
      case 35:
        byte_fallback_ = reader.boolean();
        break;
      case 40:
        unk_ = reader.int32();
        break;
      case 41:
        bos_ = reader.int32();
        break;
      case 42:
        eos_ = reader.int32();
        break;
      case 43:
        pad_ = reader.int32();
        break;
      default:
        break;
    }
  }
}

void Loader::read_normalizer(Bytes message, const char* subject) {
  ProtobufReader reader(message, name_);
  const bool is_denormalizer = std::string_view(subject) == "denormalizer_spec";
  while (reader.next()) {
    if (reader.field() == 2 && !reader.text().empty()) {
      unsupported(std::string(subject) +
                  " has a precompiled_charsmap; supported: none (identity)");
    }
    if (is_denormalizer) continue;
    switch (reader.field()) {
      case 1:
        normalizer_ = reader.text();
        break;
      case 3:
        add_space_prefix_ = reader.boolean();
        break;
      case 4:
        remove_extra_spaces_ = reader.boolean();
        break;
      case 5:
        escape_spaces_ = reader.boolean();
        break;
      default:
        break;
    }
  }
}

void Loader::check() const {
  if (pieces_.empty()) fail("no pieces");
  constexpr int32_t kBpe = 2;
  if (model_type_ != kBpe) {
    unsupported("trainer_spec: model_type " + std::to_string(model_type_) +
                "; supported: 2 (BPE)");
  }
  if (!normalizer_.empty() && normalizer_ != "identity" &&
      normalizer_ != "user_defined") {
    unsupported("normalizer_spec " + quote(normalizer_) +
                "; supported: identity");
  }
  if (remove_extra_spaces_) {
    unsupported("normalizer_spec: remove_extra_whitespaces true");
  }
  if (!escape_spaces_) unsupported("normalizer_spec: escape_whitespaces false");
  if (space_is_suffix_) {
    unsupported("trainer_spec: treat_whitespace_as_suffix true");
  }
}

TokenKind Loader::kind_of(size_t i) const {
  switch (types_[i]) {
    case kUnknown:
    case kControl:
      return TokenKind::kSpecial;
    case kUserDefined:
      return TokenKind::kAdded;
    case kByte:
      if (!byte_fallback_) {
        fail("piece " + std::to_string(i) +
             " is of the byte type, and byte_fallback is false");
      }
      if (!parse_byte_piece(pieces_[i])) {
        fail("piece " + quote(pieces_[i]) +
             " is of the byte type; expected '<0xNN>'");
      }
      return TokenKind::kByte;
    default:
      return TokenKind::kText;
  }
}

/// A negative id means there is none.
std::optional<int32_t> Loader::special(int32_t id, const char* key) const {
  if (id < 0) return std::nullopt;
  if (static_cast<size_t>(id) >= pieces_.size()) {
    fail(std::string(key) + " is " + std::to_string(id) +
         "; expected less than the vocabulary's size, " +
         std::to_string(pieces_.size()));
  }
  return id;
}

SentencePieceModel Loader::parse(Bytes bytes) {
  ProtobufReader reader(bytes, name_);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        read_piece(reader.bytes());
        break;
      case 2:
        read_trainer(reader.bytes());
        break;
      case 3:
        read_normalizer(reader.bytes(), "normalizer_spec");
        break;
      case 5:
        read_normalizer(reader.bytes(), "denormalizer_spec");
        break;
      default:
        break;
    }
  }
  check();
  for (size_t i = 0; i < pieces_.size(); ++i) static_cast<void>(kind_of(i));
  return {pieces_,
          scores_,
          types_,
          special(unk_, "unk_id"),
          special(bos_, "bos_id"),
          special(eos_, "eos_id"),
          special(pad_, "pad_id"),
          add_space_prefix_};
}

std::unique_ptr<Tokenizer> Loader::load(Bytes bytes,
                                        std::span<const int32_t> eos) {
  const SentencePieceModel model = parse(bytes);
  TokenTable table;
  table.kinds.reserve(pieces_.size());
  for (size_t i = 0; i < pieces_.size(); ++i) {
    table.kinds.push_back(kind_of(i));
  }
  add_pieces(pieces_, table);
  table.unknown = model.unknown;
  table.bos = model.bos;
  for (const int32_t id : eos) {
    if (id < 0) fail("eos_token_id " + std::to_string(id));
    add_eos(*special(id, "eos_token_id"), table);
  }
  if (eos.empty()) {
    if (model.eos) add_eos(*model.eos, table);
    add_turn_ends(table);
  }
  table.add_space_prefix = add_space_prefix_;
  return std::make_unique<SpmTokenizer>(std::move(table), scores_);
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(Bytes bytes,
                                             const std::string& name) {
  return Loader(name).parse(bytes);
}

std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(
    const std::filesystem::path& path, std::span<const int32_t> eos) {
  const MappedFile file(path);
  return load_sentencepiece_tokenizer(file.bytes(), path.string(), eos);
}

std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(
    std::span<const std::byte> bytes, const std::string& name,
    std::span<const int32_t> eos) {
  return Loader(name).load(bytes, eos);
}

}  // namespace carat
