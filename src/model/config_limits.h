// What a config may say before anything is allocated by it.
#ifndef CARAT_MODEL_CONFIG_LIMITS_H_
#define CARAT_MODEL_CONFIG_LIMITS_H_

#include <cstdint>
#include <string>

#include "carat/model_config.h"

namespace carat {

inline constexpr int64_t kMaxContextTokens = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 1024;

/// Throws Error{kCorrupt}, naming `subject`, unless every dimension of `config`
/// and the number of layers is in a range that real models stay far below.
void check_config_limits(const ModelConfig& config, int64_t layers,
                         const std::string& subject);

}  // namespace carat

#endif  // CARAT_MODEL_CONFIG_LIMITS_H_
