#include "quant/quantizing_source.h"

#include <string>
#include <utility>

#include "carat/error.h"
#include "quant/decoder.h"
#include "quant/encoder.h"
#include "quant/load_le.h"

namespace carat {
namespace {

int affine_bits(Encoding encoding) {
  const EncodingInfo& info = encoding_info(encoding);
  return 8 * info.block_bytes / info.block_values;
}

/// As any matrix of the encoding has it.
QuantizedLayout layout_of(Encoding encoding) {
  const int cols =
      is_affine(encoding) ? kMlxGroup : encoding_info(encoding).block_values;
  EncodedRows row;
  row.data.resize(
      static_cast<size_t>(cols / encoding_info(encoding).block_values) *
      static_cast<size_t>(encoding_info(encoding).block_bytes));
  if (is_affine(encoding)) {
    row.scales.resize(2);
    row.biases.resize(2);
  }
  return make_weight_source(row.tensor(encoding, 1, cols))->layout();
}

class QuantizingSource final : public WeightSource {
 public:
  QuantizingSource(std::unique_ptr<WeightSource> source, Encoding encoding)
      : WeightSource(source->rows(), source->cols(), layout_of(encoding)),
        source_(std::move(source)),
        encoding_(encoding) {}

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    EncodedRows rows;
    encoded(first, count, rows)->read(0, count, out);
  }
  void read_f32(int64_t first, int64_t count, float* out) const override {
    EncodedRows rows;
    encoded(first, count, rows)->read_f32(0, count, out);
  }

 private:
  std::unique_ptr<WeightSource> encoded(int64_t first, int64_t count,
                                        EncodedRows& rows) const {
    std::vector<float> values;
    encode_rows(*source_, first, count, encoding_, values, rows);
    return make_weight_source(rows.tensor(encoding_, count, cols()));
  }

  std::unique_ptr<WeightSource> source_;
  Encoding encoding_;
};

}  // namespace

RawTensor EncodedRows::tensor(Encoding encoding, int64_t rows,
                              int64_t cols) const {
  RawTensor tensor = {"encoded rows", encoding, {rows, cols}, data};
  if (is_affine(encoding)) {
    tensor.affine = {kMlxGroup, Encoding::kBF16, scales, biases};
  }
  return tensor;
}

bool EncodedRows::is_finite(Encoding encoding) const {
  constexpr uint16_t kBf16 = 0x7f80, kF16 = 0x7c00;  // exponents of all ones
  const auto check = [](std::span<const std::byte> bytes, int64_t first,
                        int64_t step, uint16_t exponent) {
    for (int64_t at = first; at < std::ssize(bytes); at += step) {
      const auto bits = load_le<uint16_t>(bytes.data() + at);
      if ((bits & exponent) == exponent) return false;
    }
    return true;
  };
  if (is_affine(encoding)) {
    return check(scales, 0, 2, kBf16) && check(biases, 0, 2, kBf16);
  }
  if (encoding == Encoding::kF32) return true;
  if (encoding == Encoding::kBF16) return check(data, 0, 2, kBf16);
  if (encoding == Encoding::kF16) return check(data, 0, 2, kF16);
  // What can't be encoded has a NaN for its scale, the first number but here.
  constexpr int64_t kQ6KScale = 208;
  return check(data, encoding == Encoding::kQ6_K ? kQ6KScale : 0,
               encoding_info(encoding).block_bytes, kF16);
}

bool can_encode(Encoding encoding, int64_t cols) {
  if (is_affine(encoding)) {
    return (encoding == Encoding::kMlx4 || encoding == Encoding::kMlx8) &&
           cols % kMlxGroup == 0;
  }
  return has_block_encoder(encoding) &&
         cols % encoding_info(encoding).block_values == 0;
}

void encode_rows(const WeightSource& source, int64_t first, int64_t count,
                 Encoding encoding, std::vector<float>& values,
                 EncodedRows& out) {
  const auto size = static_cast<size_t>(count * source.cols());
  values.resize(size);
  source.read_f32(first, count, values.data());
  const EncodingInfo& info = encoding_info(encoding);
  out.data.resize(size / static_cast<size_t>(info.block_values) *
                  static_cast<size_t>(info.block_bytes));
  if (!is_affine(encoding)) {
    encode_blocks(encoding, values, out.data.data());
    return;
  }
  out.scales.resize(size / kMlxGroup * 2);
  out.biases.resize(size / kMlxGroup * 2);
  encode_affine(affine_bits(encoding), kMlxGroup, values, out.data.data(),
                out.scales.data(), out.biases.data());
}

std::unique_ptr<WeightSource> make_quantizing_source(
    std::unique_ptr<WeightSource> source, Encoding encoding) {
  if (!can_encode(encoding, source->cols())) {
    throw Error(ErrorCode::kUnsupported,
                "rows of " + std::to_string(source->cols()) +
                    " numbers can't be written as " +
                    std::string(encoding_info(encoding).name));
  }
  return std::make_unique<QuantizingSource>(std::move(source), encoding);
}

}  // namespace carat
