// Loads whatever family a checkpoint holds.
#ifndef CARAT_MODEL_REGISTRY_H_
#define CARAT_MODEL_REGISTRY_H_

#include <memory>

#include "model/checkpoint.h"
#include "model/model.h"
#include "model/weights.h"

namespace carat {

/// `quantize` may be null: see WeightLoader.
/// Throws: Error{kUnsupported} for an unknown model_type; as WeightLoader.
std::unique_ptr<Model> load_model(const Checkpoint& checkpoint,
                                  Backend& backend,
                                  const ProgressCallback& on_load,
                                  const QuantizationType* quantize = nullptr);

/// Checks what load_model would: the family, and that every weight is there in
/// its shape and in an encoding that has a decoder. Reads no weights.
/// Throws: as load_model.
void check_model(const Checkpoint& checkpoint);

/// What load_model's weights would take in the backend's memory. Checks as
/// check_model; reads no weights, allocates nothing.
int64_t count_weight_bytes(const Checkpoint& checkpoint, const Backend& backend,
                           const QuantizationType* quantize = nullptr);

}  // namespace carat

#endif  // CARAT_MODEL_REGISTRY_H_
