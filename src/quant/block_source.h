// A WeightSource over blocks: the row loop, written once for every encoding.
#ifndef CARAT_QUANT_BLOCK_SOURCE_H_
#define CARAT_QUANT_BLOCK_SOURCE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/encoding.h"
#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// What a block that is a super-block says of its groups' scales and biases.
struct SuperBlockScales {
  float scale;
  float bias;  ///< not written without biases; nor are the codes
  int8_t scale_codes[16];
  int8_t bias_codes[16];
};

/// `Block` describes one encoding:
///   kValues, kBytes  numbers in a block and its size in the file
///   kLayout          what unpack() makes of it; its super-blocks are blocks
///   unpack(block, codes, scales, biases)
///                    writes kValues codes and kValues / kLayout.group scales,
///                    and as many biases where kLayout.has_bias (else biases
///                    is not touched and may be null);
///   unpack(block, codes, super_block_scales) instead, with super-blocks.
/// The tensor's rows must be whole blocks and its data as long as its shape
/// says: make_weight_source has checked that.
template <class Block>
class BlockSource final : public WeightSource {
 public:
  explicit BlockSource(const RawTensor& tensor)
      : WeightSource(tensor.rows(), tensor.cols(), Block::kLayout),
        data_(tensor.data.data()),
        blocks_per_row_(tensor.cols() / Block::kValues) {}

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    out.layout = Block::kLayout;
    out.rows = count;
    out.cols = cols();
    const int64_t blocks = count * blocks_per_row_;
    out.codes.resize(static_cast<size_t>(blocks * Block::kValues));
    out.scales.resize(static_cast<size_t>(blocks * kGroups));
    constexpr bool kBias = Block::kLayout.has_bias;
    out.biases.resize(static_cast<size_t>(kBias ? blocks * kGroups : 0));
    constexpr bool kSuper = Block::kLayout.super_block > 0;
    out.super_scales.resize(static_cast<size_t>(kSuper ? blocks : 0));
    out.super_biases.resize(static_cast<size_t>(kSuper && kBias ? blocks : 0));
    out.scale_codes.resize(kSuper ? out.scales.size() : 0);
    out.bias_codes.resize(kSuper ? out.biases.size() : 0);

    // Rows are whole blocks, so consecutive rows are consecutive blocks.
    const std::byte* block = first_block(first);
    uint8_t* codes = out.codes.data();
    float* scales = out.scales.data();
    float* biases = kBias ? out.biases.data() : nullptr;
    for (int64_t i = 0; i < blocks; ++i) {
      SuperBlockScales factors;
      unpack(block, codes, scales, biases, factors);
      if constexpr (kSuper) {
        const auto at = static_cast<size_t>(i);
        out.super_scales[at] = factors.scale;
        std::copy_n(factors.scale_codes, kGroups,
                    out.scale_codes.begin() + i * kGroups);
        if constexpr (kBias) {
          out.super_biases[at] = factors.bias;
          std::copy_n(factors.bias_codes, kGroups,
                      out.bias_codes.begin() + i * kGroups);
        }
      }
      block += Block::kBytes;
      codes += Block::kValues;
      scales += kGroups;
      if (kBias) biases += kGroups;
    }
  }

  void read_f32(int64_t first, int64_t count, float* out) const override {
    uint8_t codes[Block::kValues];
    float scales[kGroups];
    float biases[kGroups] = {};
    SuperBlockScales factors;
    const std::byte* block = first_block(first);
    for (int64_t i = 0; i < count * blocks_per_row_; ++i) {
      unpack(block, codes, scales, biases, factors);
      for (int group = 0; group < kGroups; ++group) {
        for (int j = 0; j < Block::kLayout.group; ++j) {
          *out++ = dequantize(codes[group * Block::kLayout.group + j],
                              scales[group], biases[group], Block::kLayout);
        }
      }
      block += Block::kBytes;
    }
  }

 private:
  static constexpr int kGroups = Block::kValues / Block::kLayout.group;

  // `factors` are written only where there are super-blocks.
  static void unpack(const std::byte* block, uint8_t* codes, float* scales,
                     float* biases, SuperBlockScales& factors) {
    if constexpr (Block::kLayout.super_block == 0) {
      Block::unpack(block, codes, scales, biases);
    } else {
      Block::unpack(block, codes, factors);
      for (int i = 0; i < kGroups; ++i) {
        scales[i] = factors.scale * static_cast<float>(factors.scale_codes[i]);
        if constexpr (Block::kLayout.has_bias) {
          biases[i] = factors.bias * static_cast<float>(factors.bias_codes[i]);
        }
      }
    }
  }

  const std::byte* first_block(int64_t row) const {
    return data_ + row * blocks_per_row_ * Block::kBytes;
  }

  const std::byte* data_;
  int64_t blocks_per_row_;
};

}  // namespace carat

#endif  // CARAT_QUANT_BLOCK_SOURCE_H_
