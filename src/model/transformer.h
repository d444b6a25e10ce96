// The decoder-only transformer that all families are instances of.
#ifndef CARAT_MODEL_TRANSFORMER_H_
#define CARAT_MODEL_TRANSFORMER_H_

#include <memory>

#include "model/family.h"
#include "model/model.h"
#include "model/weights.h"

namespace carat {

/// Loads the weights of a checkpoint with this config.
/// Throws: as WeightLoader.
std::unique_ptr<Model> load_transformer(const ModelConfig& config,
                                        const BlockTraits& traits,
                                        WeightLoader& loader);

}  // namespace carat

#endif  // CARAT_MODEL_TRANSFORMER_H_
