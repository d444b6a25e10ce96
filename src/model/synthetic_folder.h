// Models with random weights as MLX folders.
#ifndef CARAT_MODEL_SYNTHETIC_FOLDER_H_
#define CARAT_MODEL_SYNTHETIC_FOLDER_H_

#include <filesystem>

#include "model/synthetic_model.h"

namespace carat {

/// Writes config.json and model.safetensors in affine codes of
/// `options.encoding` in groups of 64 (matrices whose rows are not whole groups
/// stay in BF16, norms likewise) and, where options.vocabulary_from is a
/// tokenizer.json or a folder with one, that file. Streams.
/// The folder appears when it is complete, or not at all; one that is there
/// already must be empty.
/// Throws: as write_synthetic_model.
void write_synthetic_folder(const std::filesystem::path& path,
                            const ModelConfig& config,
                            const SyntheticOptions& options);

}  // namespace carat

#endif  // CARAT_MODEL_SYNTHETIC_FOLDER_H_
