#include "quant/encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "carat/error.h"
#include "quant/k_encoders.h"
#include "quant/legacy_encoders.h"
#include "quant/rounding.h"
#include "quant/store_le.h"

namespace carat {
namespace {

using BlockEncoder = bool (*)(const float* values, std::byte* block);

/// Of formats whose blocks begin with their f16 scale.
BlockEncoder block_encoder(Encoding encoding) {
  switch (encoding) {
    case Encoding::kQ4_0:
      return encode_q4_0;
    case Encoding::kQ5_0:
      return encode_q5_0;
    case Encoding::kQ5_1:
      return encode_q5_1;
    case Encoding::kQ8_0:
      return encode_q8_0;
    default:
      return nullptr;
  }
}

KEncoders::Encode k_encoder(Encoding encoding) {
  const KEncoders& encoders = k_encoders().front();
  switch (encoding) {
    case Encoding::kQ4_K:
      return encoders.q4_k;
    case Encoding::kQ5_K:
      return encoders.q5_k;
    case Encoding::kQ6_K:
      return encoders.q6_k;
    default:
      return nullptr;
  }
}

constexpr uint16_t kNanF16 = 0x7e00;

/// `most` is the highest code.
void encode_affine_group(std::span<const float> values, float most,
                         uint8_t* codes, std::byte* scale_out,
                         std::byte* bias_out) {
  float lowest = values[0], highest = values[0];
  for (const float value : values) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  // The bias is the end of larger magnitude, so that it is met exactly; the
  // scale leads from there to the other, and is such that zero has a code.
  const bool from_low = std::fabs(lowest) > std::fabs(highest);
  const float end = from_low ? lowest : highest;
  constexpr float kLeast = 1e-7f;
  float scale = std::max((highest - lowest) / most, kLeast);
  if (!from_low) scale = -scale;
  const float zero = std::nearbyint(end / scale);
  if (zero != 0) scale = end / zero;
  const uint16_t scale_bits = f32_to_bf16(scale);
  const uint16_t bias_bits = f32_to_bf16(zero == 0 ? 0.0f : end);
  store_le(scale_out, scale_bits);
  store_le(bias_out, bias_bits);
  // Codes are chosen for the numbers that a reader sees.
  const float inverse = 1 / bf16_to_f32(scale_bits);
  const float bias = bf16_to_f32(bias_bits);
  for (const float value : values) {
    *codes++ = nearest_code((value - bias) * inverse, most);
  }
}

}  // namespace

bool has_block_encoder(Encoding encoding) {
  return encoding <= Encoding::kBF16 || block_encoder(encoding) != nullptr ||
         k_encoder(encoding) != nullptr;
}

void encode_blocks(Encoding encoding, std::span<const float> values,
                   std::byte* out) {
  if (encoding == Encoding::kF32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  if (encoding == Encoding::kF16 || encoding == Encoding::kBF16) {
    for (size_t i = 0; i < values.size(); ++i) {
      store_le(out + 2 * i, encoding == Encoding::kF16
                                ? f32_to_f16(values[i])
                                : f32_to_bf16(values[i]));
    }
    return;
  }
  const EncodingInfo& info = encoding_info(encoding);
  const auto block_values = static_cast<size_t>(info.block_values);
  if (const KEncoders::Encode encode = k_encoder(encoding)) {
    encode(values.data(), static_cast<int64_t>(values.size() / block_values),
           out);
    return;
  }
  const BlockEncoder encode = block_encoder(encoding);
  if (encode == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                "encoding " + std::string(info.name) + " is not written");
  }
  for (size_t at = 0; at < values.size(); at += block_values) {
    const auto block = values.subspan(at, block_values);
    if (!all_finite(block) || !encode(block.data(), out)) {
      std::fill_n(out, info.block_bytes, std::byte{0});
      store_le(out, kNanF16);
    }
    out += info.block_bytes;
  }
}

void encode_affine(int bits, int group, std::span<const float> values,
                   std::byte* codes, std::byte* scales, std::byte* biases) {
  constexpr int kMaxGroup = 128;
  constexpr uint16_t kNanBf16 = 0x7fc0;
  const auto size = static_cast<size_t>(group);
  uint8_t unpacked[kMaxGroup];
  for (size_t at = 0; at < values.size(); at += size) {
    const auto part = values.subspan(at, size);
    if (!all_finite(part)) {
      std::fill_n(unpacked, size, uint8_t{0});
      store_le(scales, kNanBf16);
      store_le(biases, kNanBf16);
    } else {
      encode_affine_group(part, static_cast<float>((1 << bits) - 1), unpacked,
                          scales, biases);
    }
    scales += 2;
    biases += 2;
    if (bits == 8) {
      std::memcpy(codes, unpacked, size);
      codes += size;
      continue;
    }
    for (size_t i = 0; i < size; i += 2) {
      *codes++ = static_cast<std::byte>(unpacked[i] | unpacked[i + 1] << 4);
    }
  }
}

}  // namespace carat
