#include "model/synthetic_folder.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "formats/pending_output.h"
#include "formats/safetensors_writer.h"
#include "model/mlx_config.h"
#include "model/shapes.h"
#include "quant/random_blocks.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kGroup = 64;
constexpr size_t kPieceBytes = 1 << 20;

int bits_of(Encoding encoding) {
  const EncodingInfo& info = encoding_info(encoding);
  return 8 * info.block_bytes / info.block_values;
}

Json config_json(ModelConfig config, int bits) {
  config.name += " with random weights";
  Json json = mlx_config_json(config, bits, kGroup, /*tied=*/true);
  json["bos_token_id"] = 2;
  json["eos_token_id"] = 1;
  json["pad_token_id"] = 0;
  return json;
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file) return;
  throw Error(ErrorCode::kInvalidArgument,
              path.string() + ": cannot be written");
}

void copy_tokenizer(const fs::path& from, const fs::path& folder) {
  std::error_code error;
  const bool is_folder = fs::is_directory(from, error);
  const fs::path file = is_folder ? from / "tokenizer.json" : from;
  if (file.extension() != ".json") {
    throw Error(ErrorCode::kInvalidArgument,
                file.string() +
                    ": the vocabulary of an MLX folder can only be copied "
                    "from a tokenizer.json or a folder with one");
  }
  fs::copy_file(file, folder / "tokenizer.json", error);
  if (!error) return;
  throw Error(ErrorCode::kInvalidArgument,
              file.string() + ": cannot be copied: " + error.message());
}

/// Announces and fills the tensors of the one file.
class Weights {
 public:
  Weights(const fs::path& path, const SyntheticOptions& options)
      : writer_(path, "mlx"),
        options_(options),
        bits_(bits_of(options.encoding)) {}

  void add(const TensorSpec& spec) {
    const std::string name = "model." + spec.role;
    if (!is_quantised(spec)) {
      writer_.add_tensor(name + ".weight", "BF16", spec.shape);
      return;
    }
    const int64_t rows = spec.shape[0];
    const int64_t words[] = {rows, spec.shape[1] * bits_ / 32};
    const int64_t groups[] = {rows, spec.shape[1] / kGroup};
    writer_.add_tensor(name + ".weight", "U32", words);
    writer_.add_tensor(name + ".scales", "BF16", groups);
    writer_.add_tensor(name + ".biases", "BF16", groups);
  }

  void fill(const TensorSpec& spec) {
    if (spec.shape.size() == 1) {
      // Norms are stored less 1.
      return fill_constant(spec.shape[0], 0);
    }
    SplitMix64 random(options_.seed, spec.role);
    const int64_t rows = spec.shape[0];
    const int64_t cols = spec.shape[1];
    // Half of what keeps an activation's size, as trained layers roughly have.
    const double deviation = 0.5 / std::sqrt(static_cast<double>(cols));
    if (!is_quantised(spec)) {
      return fill_random(Encoding::kBF16, rows * cols * 2, deviation, random);
    }
    fill_random(options_.encoding, rows * cols * bits_ / 8, deviation, random);
    // Uniform codes have this deviation; the bias takes off their mean.
    const double most = std::ldexp(1., bits_) - 1;
    const double scale = deviation / std::sqrt(most * (most + 2) / 12);
    fill_constant(rows * cols / kGroup, scale);
    fill_constant(rows * cols / kGroup, -scale * most / 2);
  }

  void finish() { writer_.finish(); }

 private:
  bool is_quantised(const TensorSpec& spec) const {
    return spec.shape.size() == 2 && spec.shape[1] % kGroup == 0;
  }

  void fill_random(Encoding encoding, int64_t bytes, double deviation,
                   SplitMix64& random) {
    while (bytes > 0) {
      piece_.resize(std::min(kPieceBytes, static_cast<size_t>(bytes)));
      fill_random_blocks(encoding, deviation, random, piece_);
      put(piece_);
      bytes -= std::ssize(piece_);
    }
  }
  void fill_constant(int64_t count, double value) {
    const std::vector<uint16_t> numbers(static_cast<size_t>(count),
                                        f32_to_bf16(static_cast<float>(value)));
    put(std::as_bytes(std::span(numbers)));
  }
  void put(std::span<const std::byte> bytes) {
    writer_.write(bytes);
    done_ += std::ssize(bytes);
    if (options_.on_progress &&
        !options_.on_progress(done_, writer_.tensor_bytes())) {
      throw Error(ErrorCode::kCancelled, "writing was cancelled");
    }
  }

  SafetensorsWriter writer_;
  const SyntheticOptions& options_;
  int bits_;
  std::vector<std::byte> piece_;
  int64_t done_ = 0;
};

}  // namespace

void write_synthetic_folder(const fs::path& path, const ModelConfig& config,
                            const SyntheticOptions& options) {
  PendingFolder folder(path);
  write_text(folder.pending() / "config.json",
             config_json(config, bits_of(options.encoding)).dump(2) + "\n");
  if (options.vocabulary_from) {
    copy_tokenizer(*options.vocabulary_from, folder.pending());
  }
  Weights weights(folder.pending() / "model.safetensors", options);
  const std::vector<TensorSpec> tensors = gemma3_tensors(config);
  for (const TensorSpec& spec : tensors) weights.add(spec);
  for (const TensorSpec& spec : tensors) weights.fill(spec);
  weights.finish();
  folder.commit();
}

}  // namespace carat
