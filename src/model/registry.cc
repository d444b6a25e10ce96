#include "model/registry.h"

#include "carat/error.h"
#include "model/family.h"
#include "model/transformer.h"

namespace carat {
namespace {

std::unique_ptr<Model> make_model(const Checkpoint& checkpoint,
                                  WeightLoader& loader) {
  const ModelConfig& config = checkpoint.config();
  if (const Family* family = find_family(config.model_type)) {
    return load_transformer(config, family->block, loader);
  }
  throw Error(ErrorCode::kUnsupported,
              checkpoint.path().string() + ": model type '" +
                  config.model_type +
                  "' is not supported; supported: " + family_names());
}

}  // namespace

std::unique_ptr<Model> load_model(const Checkpoint& checkpoint,
                                  Backend& backend,
                                  const ProgressCallback& on_load,
                                  const QuantizationType* quantize) {
  WeightLoader loader(checkpoint, backend, on_load, quantize);
  return make_model(checkpoint, loader);
}

void check_model(const Checkpoint& checkpoint) {
  WeightLoader loader = WeightLoader::counting(checkpoint, nullptr);
  make_model(checkpoint, loader);
}

int64_t count_weight_bytes(const Checkpoint& checkpoint, const Backend& backend,
                           const QuantizationType* quantize) {
  WeightLoader loader = WeightLoader::counting(checkpoint, &backend, quantize);
  make_model(checkpoint, loader);
  return loader.packed_bytes();
}

}  // namespace carat
