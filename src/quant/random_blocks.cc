// All bytes are drawn first, then the scales are overwritten. Codes c of b bits
// are uniform: their mean is (2^b - 1) / 2 and their deviation
// sqrt((4^b - 1) / 12). Where the format subtracts a power of two instead of
// the mean, or has signed scales, a random sign of the scale centres the
// weights; where it has minima, these are set to the mean.
#include "quant/random_blocks.h"

#include <cmath>
#include <cstring>

#include "base/float_types.h"
#include "base/require.h"

namespace carat {
namespace {

/// Deviation of uniform codes of `bits` bits about their mean.
double code_deviation(int bits) {
  return std::sqrt((std::ldexp(1., 2 * bits) - 1) / 12);
}
double code_mean(int bits) { return (std::ldexp(1., bits) - 1) / 2; }
/// Root mean square of the integers low..high.
double integers_rms(int low, int high) {
  double squares = 0;
  for (int i = low; i <= high; ++i) squares += double(i) * i;
  return std::sqrt(squares / (high - low + 1));
}

void store_f16(std::byte* to, double value) {
  const uint16_t half = f32_to_f16(static_cast<float>(value));
  std::memcpy(to, &half, sizeof(half));
}

double random_sign(SplitMix64& random) {
  return (random.next() & 1u) != 0 ? 1. : -1.;
}

uint8_t low_bits(std::byte byte, int bits) {
  return static_cast<uint8_t>(byte) & static_cast<uint8_t>((1 << bits) - 1);
}

/// d at the block's start; codes of `bits` bits less 2^(bits - 1).
void scale_signed(int bits, double deviation, SplitMix64& random,
                  std::byte* block) {
  const int half = 1 << (bits - 1);
  store_f16(block,
            random_sign(random) * deviation / integers_rms(-half, half - 1));
}

/// d and m at the block's start.
void scale_with_minimum(int bits, double deviation, std::byte* block) {
  const double d = deviation / code_deviation(bits);
  store_f16(block, d);
  store_f16(block + 2, -d * code_mean(bits));
}

void scale_q2_k(double deviation, std::byte* block) {
  for (int i = 0; i < 16; ++i) {
    const int scale = 8 | low_bits(block[i], 3);
    block[i] = static_cast<std::byte>(scale | (scale << 4));
  }
  const double d = deviation / (integers_rms(8, 15) * code_deviation(2));
  store_f16(block + 80, d);
  store_f16(block + 82, d * code_mean(2));
}

/// Q4_K and Q5_K: each six-bit minimum equals its scale, 32 to 63.
void scale_q45_k(int bits, double deviation, std::byte* block) {
  uint8_t scales[8];
  for (int i = 0; i < 8; ++i) {
    scales[i] = static_cast<uint8_t>(32 | low_bits(block[4 + i], 5));
  }
  for (int i = 0; i < 4; ++i) {
    const int low = scales[i];
    const int high = scales[i + 4];
    const auto head = static_cast<std::byte>(low | ((high >> 4) << 6));
    block[4 + i] = head;
    block[8 + i] = head;
    block[12 + i] = static_cast<std::byte>((high & 0xf) | ((high & 0xf) << 4));
  }
  const double d = deviation / (integers_rms(32, 63) * code_deviation(bits));
  store_f16(block, d);
  store_f16(block + 2, d * code_mean(bits));
}

/// A number in [-1, 1) from the block's bytes.
double uniform(const std::byte* bytes) {
  int16_t number;
  std::memcpy(&number, bytes, sizeof(number));
  return std::ldexp(static_cast<double>(number), -15);
}

void scale_block(Encoding encoding, double deviation, SplitMix64& random,
                 std::byte* block) {
  switch (encoding) {
    case Encoding::kF32: {
      const auto value =
          static_cast<float>(deviation * std::sqrt(3.) * uniform(block));
      std::memcpy(block, &value, sizeof(value));
      return;
    }
    case Encoding::kF16:
      return store_f16(block, deviation * std::sqrt(3.) * uniform(block));
    case Encoding::kBF16: {
      const uint16_t value = f32_to_bf16(
          static_cast<float>(deviation * std::sqrt(3.) * uniform(block)));
      std::memcpy(block, &value, sizeof(value));
      return;
    }
    case Encoding::kQ4_0:
      return scale_signed(4, deviation, random, block);
    case Encoding::kQ5_0:
      return scale_signed(5, deviation, random, block);
    case Encoding::kQ8_0:
      return scale_signed(8, deviation, random, block);
    case Encoding::kQ4_1:
      return scale_with_minimum(4, deviation, block);
    case Encoding::kQ5_1:
      return scale_with_minimum(5, deviation, block);
    case Encoding::kQ2_K:
      return scale_q2_k(deviation, block);
    case Encoding::kQ3_K:
      return store_f16(block + 108,
                       random_sign(random) * deviation /
                           (integers_rms(-32, 31) * integers_rms(-4, 3)));
    case Encoding::kQ4_K:
      return scale_q45_k(4, deviation, block);
    case Encoding::kQ5_K:
      return scale_q45_k(5, deviation, block);
    case Encoding::kQ6_K:
      return store_f16(block + 208,
                       random_sign(random) * deviation /
                           (integers_rms(-128, 127) * integers_rms(-32, 31)));
    case Encoding::kMlx2:
    case Encoding::kMlx3:
    case Encoding::kMlx4:
    case Encoding::kMlx5:
    case Encoding::kMlx6:
    case Encoding::kMlx8:
      return;  // any codes do; scales and biases lie elsewhere
  }
}

}  // namespace

SplitMix64::SplitMix64(uint64_t seed, std::string_view name) : state_(seed) {
  for (const char letter : name) {
    state_ = next() ^ static_cast<unsigned char>(letter);
  }
}

void fill_random_blocks(Encoding encoding, double deviation, SplitMix64& random,
                        std::span<std::byte> blocks) {
  const auto block_bytes =
      static_cast<size_t>(encoding_info(encoding).block_bytes);
  require(blocks.size() % block_bytes == 0,
          "fill_random_blocks: not whole blocks");
  require(deviation >= 0x1p-10 && deviation <= 1,
          "fill_random_blocks: deviation out of range");
  size_t done = 0;
  for (; done + sizeof(uint64_t) <= blocks.size(); done += sizeof(uint64_t)) {
    const uint64_t bits = random.next();
    std::memcpy(blocks.data() + done, &bits, sizeof(bits));
  }
  if (done < blocks.size()) {
    const uint64_t bits = random.next();
    std::memcpy(blocks.data() + done, &bits, blocks.size() - done);
  }
  for (size_t at = 0; at < blocks.size(); at += block_bytes) {
    scale_block(encoding, deviation, random, blocks.data() + at);
  }
}

}  // namespace carat
