// A WeightSource over blocks: the row loop, written once for every encoding.
#ifndef CARAT_QUANT_BLOCK_SOURCE_H_
#define CARAT_QUANT_BLOCK_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/encoding.h"
#include "tensor/raw_tensor.h"
#include "tensor/weight_source.h"

namespace carat {

/// `Block` describes one encoding:
///   kValues, kBytes  numbers in a block and its size in the file
///   kLayout          what unpack() makes of it
///   unpack(block, codes, scales, biases)
///                    writes kValues codes and kValues / kLayout.group scales,
///                    and as many biases where kLayout.has_bias (else biases
///                    is not touched and may be null).
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
    out.biases.resize(
        static_cast<size_t>(Block::kLayout.has_bias ? blocks * kGroups : 0));

    // Rows are whole blocks, so consecutive rows are consecutive blocks.
    const std::byte* block = first_block(first);
    uint8_t* codes = out.codes.data();
    float* scales = out.scales.data();
    float* biases = Block::kLayout.has_bias ? out.biases.data() : nullptr;
    for (int64_t i = 0; i < blocks; ++i) {
      Block::unpack(block, codes, scales, biases);
      block += Block::kBytes;
      codes += Block::kValues;
      scales += kGroups;
      if (Block::kLayout.has_bias) biases += kGroups;
    }
  }

  void read_f32(int64_t first, int64_t count, float* out) const override {
    uint8_t codes[Block::kValues];
    float scales[kGroups];
    float biases[kGroups] = {};
    const std::byte* block = first_block(first);
    for (int64_t i = 0; i < count * blocks_per_row_; ++i) {
      Block::unpack(block, codes, scales, biases);
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

  const std::byte* first_block(int64_t row) const {
    return data_ + row * blocks_per_row_ * Block::kBytes;
  }

  const std::byte* data_;
  int64_t blocks_per_row_;
};

}  // namespace carat

#endif  // CARAT_QUANT_BLOCK_SOURCE_H_
