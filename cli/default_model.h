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

/// `given`, or the default model if `given` is empty. What is no path but looks
/// like a hub's name ("org/name[@revision][:file]") is looked up in the hub's
/// cache, without the network; if it is not there and a person is at the
/// terminal, pulling it is offered.
/// Throws: Error{kNotFound}, telling how to get the model; as pull_model.
std::filesystem::path resolve_model(const std::string& given);

}  // namespace carat::cli

#endif  // CARAT_CLI_DEFAULT_MODEL_H_
