// ModelConfig -> config.json of an MLX folder: what hf_config.cc reads.
#ifndef CARAT_MODEL_MLX_CONFIG_H_
#define CARAT_MODEL_MLX_CONFIG_H_

#include <nlohmann/json.hpp>

#include "carat/model_config.h"

namespace carat {

/// The text model alone, in the keys that mlx-lm and transformers read, with
/// matrices of affine codes of `bits` bits in groups of `group`. Token ids are
/// not among them. `source`: the config.json that `config` was read of, null if
/// there is none; from it comes what RoPE divisors were made of.
/// Throws: Error{kUnsupported} for what config.json can't say.
nlohmann::ordered_json mlx_config_json(const ModelConfig& config, int bits,
                                       int group, bool tied,
                                       const nlohmann::json& source = {});

}  // namespace carat

#endif  // CARAT_MODEL_MLX_CONFIG_H_
