// ModelConfig -> config.json of an MLX folder: what hf_config.cc reads.
#ifndef CARAT_MODEL_MLX_CONFIG_H_
#define CARAT_MODEL_MLX_CONFIG_H_

#include <nlohmann/json.hpp>

#include "carat/model_config.h"

namespace carat {

/// The text model alone, in the keys that mlx-lm and transformers read, with
/// matrices of affine codes of `bits` bits in groups of `group`. Token ids are
/// not among them. Throws: Error{kUnsupported} for RoPE that is scaled by more
/// than a factor.
nlohmann::ordered_json mlx_config_json(const ModelConfig& config, int bits,
                                       int group, bool tied);

}  // namespace carat

#endif  // CARAT_MODEL_MLX_CONFIG_H_
