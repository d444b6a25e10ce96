#include "model/registry.h"

#include <array>
#include <string>
#include <string_view>

#include "carat/error.h"
#include "model/gemma3.h"

namespace carat {
namespace {

struct Family {
  std::string_view model_type;
  std::unique_ptr<Model> (*load)(const ModelConfig& config,
                                 WeightLoader& loader);
};

constexpr std::array<Family, 1> kFamilies = {{
    {"gemma3", load_gemma3},
}};

std::unique_ptr<Model> make_model(const Checkpoint& checkpoint,
                                  WeightLoader& loader) {
  const ModelConfig& config = checkpoint.config();
  for (const Family& family : kFamilies) {
    if (family.model_type == config.model_type) {
      return family.load(config, loader);
    }
  }
  throw Error(ErrorCode::kUnsupported,
              checkpoint.path().string() + ": model type '" +
                  config.model_type + "' is not supported");
}

}  // namespace

std::unique_ptr<Model> load_model(const Checkpoint& checkpoint,
                                  Backend& backend,
                                  const ProgressCallback& on_load) {
  WeightLoader loader(checkpoint, &backend, on_load);
  return make_model(checkpoint, loader);
}

void check_model(const Checkpoint& checkpoint) {
  const ProgressCallback no_progress;
  WeightLoader loader(checkpoint, nullptr, no_progress);
  make_model(checkpoint, loader);
}

}  // namespace carat
