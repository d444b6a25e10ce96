// Where the default model lies.
#ifndef CARAT_CLI_DEFAULT_MODEL_H_
#define CARAT_CLI_DEFAULT_MODEL_H_

#include <filesystem>
#include <string>

namespace carat::cli {

/// gemma-3-270m-q4_k_m.gguf in the folder "carat" of $XDG_CACHE_HOME or
/// ~/.cache: where scripts/fetch_model.py puts it. Whether it is there is not
/// checked.
std::filesystem::path default_model_path();

/// `given`, or the default model if `given` is empty.
/// Throws: Error{kNotFound}, telling how to get the default model.
std::filesystem::path resolve_model(const std::string& given);

}  // namespace carat::cli

#endif  // CARAT_CLI_DEFAULT_MODEL_H_
