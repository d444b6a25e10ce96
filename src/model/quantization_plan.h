// Which encoding each tensor gets when a model is quantised.
#ifndef CARAT_MODEL_QUANTIZATION_PLAN_H_
#define CARAT_MODEL_QUANTIZATION_PLAN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/encoding.h"

namespace carat {

/// A type that models are quantised to, as users name it.
struct QuantizationType {
  std::string_view name;    ///< "q4_k"
  Encoding encoding;        ///< of most matrices
  uint32_t gguf_file_type;  ///< general.file_type; 0: an MLX folder
};

/// "q4_0", "q4_k", "q5_k", "q6_k", "q8_0", "bf16", "mlx4", "mlx8".
std::vector<std::string> quantization_names();

/// Throws: Error{kInvalidArgument} for another name, listing these.
const QuantizationType& find_quantization(std::string_view name);

/// The encoding of the matrix with this role (Checkpoint), `cols` wide, in a
/// model of `layers`. What llama.cpp's quantiser chooses (Q4_K_M for "q4_k",
/// Q5_K_M for "q5_k"): the matrix that gives logits (lm_head, or the embedding
/// if `tied`) is Q6_K unless all is Q8_0 or BF16; of q4_k and q5_k, v_proj and
/// down_proj are Q6_K in the first and last eighth of the layers and each third
/// between. Where rows are not whole blocks: Q5_0 for Q4_K, Q5_1 for Q5_K, Q8_0
/// for Q6_K, else F16 (MLX: BF16).
/// Source: llama.cpp (src/llama-quant.cpp), whose files these are to match.
Encoding plan_encoding(const QuantizationType& type, std::string_view role,
                       int64_t layers, int64_t cols, bool tied);

}  // namespace carat

#endif  // CARAT_MODEL_QUANTIZATION_PLAN_H_
