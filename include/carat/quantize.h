// Writes a model in another encoding.
#ifndef CARAT_QUANTIZE_H_
#define CARAT_QUANTIZE_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "carat/options.h"

namespace carat {

struct QuantizeOptions {
  /// "q4_0", "q4_k", "q5_k", "q6_k", "q8_0" or "bf16" for a GGUF file, "mlx4"
  /// or "mlx8" for an MLX folder (groups of 64, bf16 scales).
  std::string type = "q4_k";
  /// Write over what is there.
  bool replace = false;
  /// Size of the thread pool; 0: every processor this process may use. The
  /// bytes written do not depend on it.
  int threads = 0;
  /// (done, total) in bytes of the source's tensors.
  ProgressCallback on_progress;
};

/// Reads the model at `from` (a GGUF file, a Hugging Face or MLX folder) and
/// writes its text model to `to`: every matrix dequantised exactly and encoded
/// anew, with config, tokenizer, chat template and the ids that end a
/// generation; of these a GGUF file made from a folder has two, and from a
/// folder without a tokenizer none of all that but the config. Memory: some
/// rows a thread, the vocabulary and, for MLX, the scales of one matrix. `to`
/// appears, on the disk, when it is complete; a call that ends early, however,
/// leaves it as it was.
/// Throws: as Engine::load of `from`; Error{kInvalidArgument} (an unknown type,
/// `to` is there already, or can't be written), Error{kCorrupt} (a weight that
/// is not finite), Error{kUnsupported} (what the other container can't hold, or
/// a weight too large for the encoding's scales), Error{kCancelled}.
void quantize_model(const std::filesystem::path& from,
                    const std::filesystem::path& to,
                    const QuantizeOptions& options = {});

}  // namespace carat

#endif  // CARAT_QUANTIZE_H_
