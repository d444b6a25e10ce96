#include "tensor/encoding.h"

#include <array>

namespace carat {
namespace {

constexpr std::array<EncodingInfo, 19> kEncodings = {{
    {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},
    {"Q4_0", 32, 18},   {"Q4_1", 32, 20},   {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},   {"Q8_0", 32, 34},   {"Q2_K", 256, 84},
    {"Q3_K", 256, 110}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176},
    {"Q6_K", 256, 210}, {"MLX2", 16, 4},    {"MLX3", 32, 12},
    {"MLX4", 8, 4},     {"MLX5", 32, 20},   {"MLX6", 16, 12},
    {"MLX8", 4, 4},
}};

}  // namespace

const EncodingInfo& encoding_info(Encoding encoding) {
  return kEncodings[static_cast<size_t>(encoding)];
}

}  // namespace carat
