// Models with random weights, as GGUF files or MLX folders: real shapes for
// measuring speed where the real weights can't be shipped.
#ifndef CARAT_MODEL_SYNTHETIC_MODEL_H_
#define CARAT_MODEL_SYNTHETIC_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <optional>

#include "carat/model_config.h"
#include "carat/options.h"
#include "tensor/encoding.h"

namespace carat {

struct SyntheticOptions {
  /// Of the matrices; norms are F32 ones. MLX's make a folder. Where a matrix's
  /// rows are not whole blocks, it takes the encoding that synthetic_encoding()
  /// names.
  Encoding encoding = Encoding::kQ4_0;
  /// Same seed, same bytes.
  uint64_t seed = 1;
  /// A GGUF file whose vocabulary is copied; without it one is made up. Of a
  /// folder: see write_synthetic_folder.
  std::optional<std::filesystem::path> vocabulary_from = {};
  /// (done, total) in bytes of the tensors.
  ProgressCallback on_progress = {};
};

/// `encoding` if rows of `cols` numbers are whole blocks of it; else the next
/// larger one of blocks of 32 (as llama.cpp does; Q4_0 for Q2_K and Q3_K).
Encoding synthetic_encoding(Encoding encoding, int64_t cols);

/// Writes a Gemma 3 model of `config`, whose sizes may be any (head_dim even,
/// at least 260 tokens in its vocabulary), to `path`; streams, so memory stays
/// small. The file appears when it is complete, or not at all. An encoding of
/// MLX's writes a folder: write_synthetic_folder.
/// Throws: Error{kInvalidArgument} (sizes that don't fit, a vocabulary of
/// another size, a file that can't be written), Error{kCancelled}; of
/// vocabulary_from, as GgufFile.
void write_synthetic_model(const std::filesystem::path& path,
                           const ModelConfig& config,
                           const SyntheticOptions& options = {});

}  // namespace carat

#endif  // CARAT_MODEL_SYNTHETIC_MODEL_H_
