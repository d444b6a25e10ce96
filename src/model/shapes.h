// The published Gemma 3 text models' shapes, and every tensor a shape has.
#ifndef CARAT_MODEL_SHAPES_H_
#define CARAT_MODEL_SHAPES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "carat/model_config.h"

namespace carat {

/// "gemma3-270m", "gemma3-1b", "gemma3-4b", "gemma3-12b", "gemma3-27b", and
/// "translategemma-4b", "-12b" and "-27b", which have the same shapes.
std::vector<std::string_view> shape_names();

/// The config of a named shape, as its checkpoints give it.
/// Throws: Error{kInvalidArgument} for another name, listing these.
ModelConfig model_shape(std::string_view name);

/// A tensor by the name GGUF gives it, and by its role, which is the name in
/// Hugging Face's files without prefix and ".weight"; shape outermost first.
struct TensorSpec {
  std::string gguf_name;
  std::string role;
  std::vector<int64_t> shape;  ///< one dimension: a norm's weights
};

/// All tensors of a Gemma 3 model whose lm_head is its embedding matrix, in the
/// order in which files have them.
std::vector<TensorSpec> gemma3_tensors(const ModelConfig& config);

/// How many numbers they hold.
int64_t count_parameters(const std::vector<TensorSpec>& tensors);

}  // namespace carat

#endif  // CARAT_MODEL_SHAPES_H_
