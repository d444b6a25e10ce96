// Gemma 3, from 270M to 27B.
#ifndef CARAT_MODEL_GEMMA3_H_
#define CARAT_MODEL_GEMMA3_H_

#include <memory>

#include "model/model.h"
#include "model/weights.h"

namespace carat {

/// Loads the weights of a Gemma 3 checkpoint with this config.
/// Throws: as WeightLoader.
std::unique_ptr<Model> load_gemma3(const ModelConfig& config,
                                   WeightLoader& loader);

}  // namespace carat

#endif  // CARAT_MODEL_GEMMA3_H_
