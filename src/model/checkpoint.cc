#include "model/checkpoint.h"

#include <system_error>

#include "carat/error.h"

namespace carat {

std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return open_hf_checkpoint(path);
  }
  if (path.extension() == ".safetensors" || path.extension() == ".json") {
    throw Error(ErrorCode::kUnsupported,
                path.string() +
                    ": expected a GGUF file, or the folder that holds "
                    "config.json and the weights");
  }
  return open_gguf_checkpoint(path);
}

}  // namespace carat
