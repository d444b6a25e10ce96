#include "quant/dense_source.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/float_types.h"

namespace carat {
namespace {

constexpr QuantizedLayout kLayout = {8, 32, 128, false};
constexpr uint32_t kInfinityBits = 0x7f800000u;

struct AsF32 {
  using Stored = float;
  static float widen(float value) { return value; }
};

struct AsF16 {
  using Stored = uint16_t;
  static float widen(uint16_t bits) { return f16_to_f32(bits); }
};

struct AsBF16 {
  using Stored = uint16_t;
  static float widen(uint16_t bits) { return bf16_to_f32(bits); }
};

template <class Format>
void widen(const std::byte* from, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    typename Format::Stored stored;
    std::memcpy(&stored, from + i * static_cast<int64_t>(sizeof(stored)),
                sizeof(stored));
    out[i] = Format::widen(stored);
  }
}

/// 32 numbers -> codes; returns their scale. No float becomes an integer by a
/// conversion, which would be undefined for a NaN.
float quantize_group(const float* values, uint8_t* codes) {
  uint32_t largest = 0;
  for (int i = 0; i < kLayout.group; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7fffffffu;
    largest = std::max(largest, magnitude);  // orders as the numbers do
  }
  const float amax = std::bit_cast<float>(largest);
  if (largest == 0 || largest >= kInfinityBits) {
    std::fill_n(codes, kLayout.group, static_cast<uint8_t>(kLayout.zero_point));
    return largest == 0 ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  // Dividing by amax first stays finite where 1 / scale would not. Adding
  // 1.5 * 2^23 rounds to an integer, which is then in the low mantissa bits.
  constexpr float kRound = 0x1.8p23f;
  for (int i = 0; i < kLayout.group; ++i) {
    const float rounded = values[i] / amax * 127.0f + kRound;
    codes[i] = static_cast<uint8_t>(std::bit_cast<uint32_t>(rounded) +
                                    static_cast<uint32_t>(kLayout.zero_point));
  }
  return amax / 127.0f;
}

template <class Format>
class DenseSource final : public WeightSource {
 public:
  explicit DenseSource(const RawTensor& tensor)
      : WeightSource(tensor.rows(), tensor.cols(), kLayout),
        data_(tensor.data.data()) {}

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    out.layout = kLayout;
    out.rows = count;
    out.cols = cols();
    out.codes.resize(static_cast<size_t>(count * cols()));
    out.scales.resize(static_cast<size_t>(count * out.groups()));
    out.biases.clear();
    uint8_t* codes = out.codes.data();
    float* scales = out.scales.data();
    for (int64_t row = first; row < first + count; ++row) {
      int64_t col = 0;
      for (; col + kLayout.group <= cols(); col += kLayout.group) {
        float values[kLayout.group];
        widen<Format>(at(row, col), kLayout.group, values);
        *scales++ = quantize_group(values, codes);
        codes += kLayout.group;
      }
      if (col < cols()) {
        float values[kLayout.group] = {};
        uint8_t padded[kLayout.group];
        widen<Format>(at(row, col), cols() - col, values);
        *scales++ = quantize_group(values, padded);
        codes = std::copy_n(padded, cols() - col, codes);
      }
    }
  }

  void read_f32(int64_t first, int64_t count, float* out) const override {
    widen<Format>(at(first, 0), count * cols(), out);
  }

 private:
  const std::byte* at(int64_t row, int64_t col) const {
    return data_ + (row * cols() + col) *
                       static_cast<int64_t>(sizeof(typename Format::Stored));
  }

  const std::byte* data_;
};

}  // namespace

std::unique_ptr<WeightSource> make_dense_source(const RawTensor& tensor) {
  switch (tensor.encoding) {
    case Encoding::kF32:
      return std::make_unique<DenseSource<AsF32>>(tensor);
    case Encoding::kF16:
      return std::make_unique<DenseSource<AsF16>>(tensor);
    case Encoding::kBF16:
      return std::make_unique<DenseSource<AsBF16>>(tensor);
    default:
      return nullptr;
  }
}

}  // namespace carat
