#include "model/synthetic_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "carat/error.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "model/gguf_config.h"
#include "model/shapes.h"
#include "model/synthetic_folder.h"
#include "quant/random_blocks.h"

namespace carat {
namespace {

constexpr int kByteTokens = 256;
constexpr std::array<std::string_view, 4> kControlTokens = {"<pad>", "<eos>",
                                                            "<bos>", "<unk>"};

// The GGUF specification's token types.
constexpr int32_t kNormal = 1;
constexpr int32_t kUnknown = 2;
constexpr int32_t kControl = 3;
constexpr int32_t kByte = 6;

/// What `tokenizer.ggml.*` holds, one entry a token.
struct VocabularyArrays {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
};

std::string byte_piece(int byte) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
}

/// The i-th lower-case word, shortest first: a, ..., z, aa, ab, ...
std::string word(int64_t i) {
  std::string text;
  for (++i; i > 0; i = (i - 1) / 26) {
    text += static_cast<char>('a' + (i - 1) % 26);
  }
  std::ranges::reverse(text);
  return text;
}

VocabularyArrays make_up_vocabulary(int64_t size) {
  VocabularyArrays arrays;
  const auto add = [&](std::string token, int32_t type) {
    arrays.scores.push_back(-static_cast<float>(arrays.tokens.size()));
    arrays.tokens.push_back(std::move(token));
    arrays.types.push_back(type);
  };
  for (const std::string_view token : kControlTokens) {
    add(std::string(token), token == "<unk>" ? kUnknown : kControl);
  }
  for (int byte = 0; byte < kByteTokens; ++byte) add(byte_piece(byte), kByte);
  // Words alone and behind SentencePiece's space, U+2581.
  for (int64_t i = 0; std::ssize(arrays.tokens) < size; ++i) {
    add(i % 2 == 0 ? word(i / 2) : "\xe2\x96\x81" + word(i / 2), kNormal);
  }
  return arrays;
}

template <class T>
const std::vector<T>& require_array(const GgufFile& file,
                                    const std::vector<T>* array,
                                    std::string_view key, int64_t size) {
  if (array == nullptr || std::ssize(*array) != size) {
    throw Error(ErrorCode::kInvalidArgument,
                file.path().string() + ": key tokenizer.ggml." +
                    std::string(key) + " has " +
                    std::to_string(array == nullptr ? 0 : array->size()) +
                    " entries; expected " + std::to_string(size));
  }
  return *array;
}

VocabularyArrays copy_vocabulary(const std::filesystem::path& path,
                                 int64_t size) {
  const GgufFile file(path);
  const auto& tokens = require_array(
      file, file.find_strings("tokenizer.ggml.tokens"), "tokens", size);
  const auto& scores = require_array(
      file, file.find_floats("tokenizer.ggml.scores"), "scores", size);
  const auto& types = require_array(
      file, file.find_ints("tokenizer.ggml.token_type"), "token_type", size);
  VocabularyArrays arrays;
  arrays.tokens.assign(tokens.begin(), tokens.end());
  for (const double score : scores) {
    arrays.scores.push_back(static_cast<float>(score));
  }
  for (const int64_t type : types) {
    arrays.types.push_back(static_cast<int32_t>(type));
  }
  return arrays;
}

void add_vocabulary(GgufFileWriter& writer, const VocabularyArrays& arrays) {
  const std::vector<std::string_view> tokens(arrays.tokens.begin(),
                                             arrays.tokens.end());
  writer.add("tokenizer.ggml.model", "llama");
  writer.add("tokenizer.ggml.pre", "default");
  writer.add_array("tokenizer.ggml.tokens", std::span(tokens));
  writer.add_array("tokenizer.ggml.scores", std::span(arrays.scores));
  writer.add_array("tokenizer.ggml.token_type", std::span(arrays.types));
  const auto id_of = [&](std::string_view token) {
    const auto found = std::ranges::find(arrays.tokens, token);
    return static_cast<uint32_t>(found - arrays.tokens.begin());
  };
  struct Role {
    std::string_view key;
    std::string_view token;
  };
  constexpr std::array kRoles = {
      Role{"bos_token_id", "<bos>"},
      Role{"eos_token_id", "<eos>"},
      Role{"unknown_token_id", "<unk>"},
      Role{"padding_token_id", "<pad>"},
  };
  for (const Role& role : kRoles) {
    const uint32_t id = id_of(role.token);
    if (id == arrays.tokens.size()) continue;
    writer.add("tokenizer.ggml." + std::string(role.key), id);
  }
  writer.add("tokenizer.ggml.add_bos_token", true);
  writer.add("tokenizer.ggml.add_eos_token", false);
  writer.add("tokenizer.ggml.add_space_prefix", false);
}

/// The bytes of one tensor, a bounded piece at a time.
class TensorBytes {
 public:
  TensorBytes(GgufFileWriter& writer, const SyntheticOptions& options)
      : writer_(writer), options_(options) {}

  void write_ones(int64_t size) {
    const std::vector<float> ones(static_cast<size_t>(size), 1.0f);
    put(std::as_bytes(std::span(ones)));
  }

  void write_random(const TensorSpec& spec, Encoding encoding) {
    SplitMix64 random(options_.seed, spec.gguf_name);
    const EncodingInfo& info = encoding_info(encoding);
    int64_t left = spec.shape[0] * spec.shape[1] / info.block_values;
    const int64_t piece = std::max(int64_t{1}, kPieceBytes / info.block_bytes);
    // Half of what keeps an activation's size, as trained layers roughly have.
    const double deviation =
        0.5 / std::sqrt(static_cast<double>(spec.shape[1]));
    for (; left > 0; left -= std::min(left, piece)) {
      piece_.resize(
          static_cast<size_t>(std::min(left, piece) * info.block_bytes));
      fill_random_blocks(encoding, deviation, random, piece_);
      put(piece_);
    }
  }

 private:
  static constexpr int64_t kPieceBytes = 1 << 20;

  void put(std::span<const std::byte> bytes) {
    writer_.write(bytes);
    done_ += std::ssize(bytes);
    if (options_.on_progress &&
        !options_.on_progress(done_, writer_.tensor_bytes())) {
      throw Error(ErrorCode::kCancelled, "writing was cancelled");
    }
  }

  GgufFileWriter& writer_;
  const SyntheticOptions& options_;
  std::vector<std::byte> piece_;
  int64_t done_ = 0;
};

}  // namespace

Encoding synthetic_encoding(Encoding encoding, int64_t cols) {
  if (cols % encoding_info(encoding).block_values == 0) return encoding;
  Encoding smaller_blocks = Encoding::kF16;
  switch (encoding) {
    case Encoding::kQ2_K:
    case Encoding::kQ3_K:
      smaller_blocks = Encoding::kQ4_0;
      break;
    case Encoding::kQ4_K:
      smaller_blocks = Encoding::kQ5_0;
      break;
    case Encoding::kQ5_K:
      smaller_blocks = Encoding::kQ5_1;
      break;
    case Encoding::kQ6_K:
      smaller_blocks = Encoding::kQ8_0;
      break;
    default:
      return smaller_blocks;
  }
  return synthetic_encoding(smaller_blocks, cols);
}

void write_synthetic_model(const std::filesystem::path& path,
                           const ModelConfig& config,
                           const SyntheticOptions& options) {
  if (is_affine(options.encoding)) {
    write_synthetic_folder(path, config, options);
    return;
  }
  if (config.vocab_size < kByteTokens + std::ssize(kControlTokens)) {
    throw Error(ErrorCode::kInvalidArgument,
                "a synthetic model needs at least 260 tokens, not " +
                    std::to_string(config.vocab_size));
  }
  GgufFileWriter writer(path);
  ModelConfig named = config;
  named.name += " with random weights";
  write_gguf_config(writer, named);
  add_vocabulary(
      writer, options.vocabulary_from
                  ? copy_vocabulary(*options.vocabulary_from, config.vocab_size)
                  : make_up_vocabulary(config.vocab_size));
  const std::vector<TensorSpec> tensors = gemma3_tensors(config);
  const auto encoding_of = [&](const TensorSpec& spec) {
    return spec.shape.size() == 1
               ? Encoding::kF32
               : synthetic_encoding(options.encoding, spec.shape[1]);
  };
  for (const TensorSpec& spec : tensors) {
    writer.add_tensor(spec.gguf_name, encoding_of(spec), spec.shape);
  }
  TensorBytes bytes(writer, options);
  for (const TensorSpec& spec : tensors) {
    if (spec.shape.size() == 1) {
      bytes.write_ones(spec.shape[0]);
    } else {
      bytes.write_random(spec, encoding_of(spec));
    }
  }
  writer.finish();
}

}  // namespace carat
