// What a Hugging Face folder says about generating with its model.
#ifndef CARAT_MODEL_HF_GENERATION_H_
#define CARAT_MODEL_HF_GENERATION_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "carat/options.h"

namespace carat {

struct HfGeneration {
  /// Of generation_config.json; empty: it names none.
  std::vector<int32_t> eos;
  /// Likewise; greedy where it does not ask for sampling.
  SamplingOptions sampling;
  /// The Jinja text; empty: none.
  std::string chat_template;
};

/// Reads generation_config.json and the chat template (chat_template.jinja,
/// chat_template.json or tokenizer_config.json, whichever comes first), each of
/// which may be absent.
/// Throws: Error{kCorrupt} for a file that is there and broken.
/// Source: transformers 5.23 (generation/configuration_utils.py,
/// tokenization_utils_base.py).
HfGeneration read_hf_generation(const std::filesystem::path& folder);

}  // namespace carat

#endif  // CARAT_MODEL_HF_GENERATION_H_
