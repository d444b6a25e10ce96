#include "model/quantization_plan.h"

#include <array>
#include <charconv>

#include "carat/error.h"
#include "quant/quantizing_source.h"

namespace carat {
namespace {

// File types as in llama.cpp's llama_ftype.
constexpr std::array<QuantizationType, 8> kTypes = {{
    {"q4_0", Encoding::kQ4_0, 2},
    {"q4_k", Encoding::kQ4_K, 15},
    {"q5_k", Encoding::kQ5_K, 17},
    {"q6_k", Encoding::kQ6_K, 18},
    {"q8_0", Encoding::kQ8_0, 7},
    {"bf16", Encoding::kBF16, 32},
    {"mlx4", Encoding::kMlx4, 0},
    {"mlx8", Encoding::kMlx8, 0},
}};

/// "layers.12.mlp.up_proj" -> 12.
int64_t layer_of(std::string_view role) {
  constexpr std::string_view kLayers = "layers.";
  int64_t layer = 0;
  if (role.starts_with(kLayers)) {
    std::from_chars(role.data() + kLayers.size(), role.data() + role.size(),
                    layer);
  }
  return layer;
}

bool deserves_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 ||
         (layer - layers / 8) % 3 == 2;
}

Encoding with_smaller_blocks(Encoding encoding) {
  switch (encoding) {
    case Encoding::kQ4_K:
      return Encoding::kQ5_0;
    case Encoding::kQ5_K:
      return Encoding::kQ5_1;
    case Encoding::kQ6_K:
      return Encoding::kQ8_0;
    default:
      return is_affine(encoding) ? Encoding::kBF16 : Encoding::kF16;
  }
}

}  // namespace

std::vector<std::string> quantization_names() {
  std::vector<std::string> names;
  for (const QuantizationType& type : kTypes) names.emplace_back(type.name);
  return names;
}

const QuantizationType& find_quantization(std::string_view name) {
  std::string known;
  for (const QuantizationType& type : kTypes) {
    if (type.name == name) return type;
    if (!known.empty()) known += ", ";
    known += type.name;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "type '" + std::string(name) + "'; expected one of " + known);
}

Encoding plan_encoding(const QuantizationType& type, std::string_view role,
                       int64_t layers, int64_t cols, bool tied) {
  Encoding encoding = type.encoding;
  const bool is_output = role == "lm_head" || (tied && role == "embed_tokens");
  if (encoding == Encoding::kBF16 || is_affine(encoding)) {
    // All alike.
  } else if (is_output) {
    if (encoding != Encoding::kQ8_0) encoding = Encoding::kQ6_K;
  } else if (encoding == Encoding::kQ4_K || encoding == Encoding::kQ5_K) {
    const bool matters =
        role.ends_with(".self_attn.v_proj") || role.ends_with(".mlp.down_proj");
    if (matters && deserves_more_bits(layer_of(role), layers)) {
      encoding = Encoding::kQ6_K;
    }
  }
  while (!can_encode(encoding, cols)) encoding = with_smaller_blocks(encoding);
  return encoding;
}

}  // namespace carat
