#include "quant/affine_source.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/checked.h"
#include "base/float_types.h"
#include "carat/error.h"
#include "quant/load_le.h"

namespace carat {
namespace {

template <int kBits>
void unpack_row(const std::byte* packed, int64_t cols, uint8_t* codes) {
  if constexpr (kBits == 8) {
    std::memcpy(codes, packed, static_cast<size_t>(cols));
  } else if constexpr (kBits == 4) {
    for (int64_t i = 0; i < cols / 2; ++i) {
      const auto byte = static_cast<uint8_t>(packed[i]);
      codes[2 * i] = byte & 0xf;
      codes[2 * i + 1] = byte >> 4;
    }
  } else {
    // Eight codes are kBits whole bytes.
    constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
    for (int64_t i = 0; i < cols; i += 8) {
      uint64_t bits = 0;
      std::memcpy(&bits, packed, kBits);
      packed += kBits;
      for (int j = 0; j < 8; ++j) {
        codes[i + j] = static_cast<uint8_t>((bits >> (j * kBits)) & kMask);
      }
    }
  }
}

void unpack_row(int bits, const std::byte* packed, int64_t cols,
                uint8_t* codes) {
  switch (bits) {
    case 2:
      return unpack_row<2>(packed, cols, codes);
    case 3:
      return unpack_row<3>(packed, cols, codes);
    case 4:
      return unpack_row<4>(packed, cols, codes);
    case 5:
      return unpack_row<5>(packed, cols, codes);
    case 6:
      return unpack_row<6>(packed, cols, codes);
    default:
      return unpack_row<8>(packed, cols, codes);
  }
}

int encoding_bits(Encoding encoding) {
  const EncodingInfo& info = encoding_info(encoding);
  return 8 * info.block_bytes / info.block_values;
}

void widen(Encoding encoding, const std::byte* from, int64_t count,
           float* out) {
  switch (encoding) {
    case Encoding::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = load_f16(from + 2 * i);
      break;
    case Encoding::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = bf16_to_f32(load_le<uint16_t>(from + 2 * i));
      }
      break;
    default:
      for (int64_t i = 0; i < count; ++i) out[i] = load_le<float>(from + 4 * i);
  }
}

class AffineSource final : public WeightSource {
 public:
  explicit AffineSource(const RawTensor& tensor)
      : WeightSource(
            tensor.rows(), tensor.cols(),
            {encoding_bits(tensor.encoding), tensor.affine.group, 0, true}),
        codes_(tensor.data.data()),
        row_bytes_(tensor.cols() * layout().bits / 8),
        affine_(tensor.affine),
        groups_(tensor.cols() / tensor.affine.group),
        number_bytes_(encoding_info(affine_.encoding).block_bytes) {}

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    out.layout = layout();
    out.rows = count;
    out.cols = cols();
    out.codes.resize(static_cast<size_t>(count * cols()));
    out.scales.resize(static_cast<size_t>(count * groups_));
    out.biases.resize(static_cast<size_t>(count * groups_));
    for (int64_t i = 0; i < count; ++i) {
      unpack_row(layout().bits, codes_ + (first + i) * row_bytes_, cols(),
                 out.codes.data() + i * cols());
    }
    const int64_t begin = first * groups_ * number_bytes_;
    widen(affine_.encoding, affine_.scales.data() + begin, count * groups_,
          out.scales.data());
    widen(affine_.encoding, affine_.biases.data() + begin, count * groups_,
          out.biases.data());
  }

  void read_f32(int64_t first, int64_t count, float* out) const override {
    QuantizedMatrix row;
    for (int64_t i = 0; i < count; ++i) {
      read(first + i, 1, row);
      for (int64_t k = 0; k < cols(); ++k) {
        const auto group = static_cast<size_t>(k / layout().group);
        *out++ = dequantize(row.codes[static_cast<size_t>(k)],
                            row.scales[group], row.biases[group], layout());
      }
    }
  }

 private:
  const std::byte* codes_;
  int64_t row_bytes_;
  AffineGroups affine_;
  int64_t groups_;
  int64_t number_bytes_;
};

}  // namespace

std::unique_ptr<WeightSource> make_affine_source(const RawTensor& tensor) {
  const AffineGroups& affine = tensor.affine;
  const std::string subject = "tensor " + tensor.name;
  if (affine.group != 32 && affine.group != 64 && affine.group != 128) {
    throw Error(ErrorCode::kUnsupported, subject + ": groups of " +
                                             std::to_string(affine.group) +
                                             "; supported: 32, 64, 128");
  }
  if (affine.encoding > Encoding::kBF16) {
    throw Error(ErrorCode::kUnsupported,
                subject + ": scales of type " +
                    std::string(encoding_info(affine.encoding).name) +
                    "; supported: F32, F16, BF16");
  }
  if (tensor.cols() % affine.group != 0) {
    throw Error(ErrorCode::kCorrupt, subject + ": rows of " +
                                         std::to_string(tensor.cols()) +
                                         " values are not whole groups of " +
                                         std::to_string(affine.group));
  }
  const uint64_t groups =
      checked_mul(static_cast<uint64_t>(tensor.rows()),
                  static_cast<uint64_t>(tensor.cols() / affine.group), subject);
  const uint64_t bytes = checked_mul(
      groups, static_cast<uint64_t>(encoding_info(affine.encoding).block_bytes),
      subject);
  for (const auto& part : {affine.scales, affine.biases}) {
    if (part.size() == bytes) continue;
    throw Error(ErrorCode::kCorrupt, subject + ": scales or biases of " +
                                         std::to_string(part.size()) +
                                         " bytes, its shape needs " +
                                         std::to_string(bytes));
  }
  return std::make_unique<AffineSource>(tensor);
}

}  // namespace carat
