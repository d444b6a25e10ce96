#include "quant/decoder.h"

#include <cstdint>
#include <string>

#include "base/checked.h"
#include "carat/error.h"
#include "quant/affine_source.h"
#include "quant/block_source.h"
#include "quant/dense_source.h"
#include "quant/k_blocks.h"
#include "quant/legacy_blocks.h"
#include "quant/paired_rows_source.h"
#include "tensor/encoding.h"

namespace carat {
namespace {

/// The sources below trust the tensor's shape; nobody else need have.
void check_shape(const RawTensor& tensor) {
  const EncodingInfo& info = encoding_info(tensor.encoding);
  const std::string subject = "tensor " + tensor.name;
  if (tensor.shape.empty() || tensor.shape.size() > 2 || tensor.rows() < 1 ||
      tensor.cols() < 1) {
    throw Error(ErrorCode::kCorrupt,
                subject + ": expected a vector or a matrix, not empty");
  }
  if (tensor.cols() % info.block_values != 0) {
    throw Error(ErrorCode::kCorrupt, subject + ": rows of " +
                                         std::to_string(tensor.cols()) +
                                         " values are not whole blocks of " +
                                         std::to_string(info.block_values) +
                                         " (" + std::string(info.name) + ")");
  }
  const uint64_t row_bytes =
      checked_mul(static_cast<uint64_t>(tensor.cols() / info.block_values),
                  static_cast<uint64_t>(info.block_bytes), subject);
  const uint64_t bytes =
      checked_mul(static_cast<uint64_t>(tensor.rows()), row_bytes, subject);
  if (tensor.data.size() != bytes) {
    throw Error(ErrorCode::kCorrupt,
                subject + ": has " + std::to_string(tensor.data.size()) +
                    " bytes, its shape needs " + std::to_string(bytes));
  }
}

template <class Block>
std::unique_ptr<WeightSource> make_block_source(const RawTensor& tensor) {
  return std::make_unique<BlockSource<Block>>(tensor);
}

}  // namespace

std::unique_ptr<WeightSource> make_weight_source(const RawTensor& tensor) {
  check_shape(tensor);
  if (tensor.paired_head_rows > 0) return make_paired_rows_source(tensor);
  switch (tensor.encoding) {
    case Encoding::kF32:
    case Encoding::kF16:
    case Encoding::kBF16:
      return make_dense_source(tensor);
    case Encoding::kQ4_0:
      return make_block_source<BlockQ4_0>(tensor);
    case Encoding::kQ4_1:
      return make_block_source<BlockQ4_1>(tensor);
    case Encoding::kQ5_0:
      return make_block_source<BlockQ5_0>(tensor);
    case Encoding::kQ5_1:
      return make_block_source<BlockQ5_1>(tensor);
    case Encoding::kQ8_0:
      return make_block_source<BlockQ8_0>(tensor);
    case Encoding::kQ2_K:
      return make_block_source<BlockQ2_K>(tensor);
    case Encoding::kQ3_K:
      return make_block_source<BlockQ3_K>(tensor);
    case Encoding::kQ4_K:
      return make_block_source<BlockQ4_K>(tensor);
    case Encoding::kQ5_K:
      return make_block_source<BlockQ5_K>(tensor);
    case Encoding::kQ6_K:
      return make_block_source<BlockQ6_K>(tensor);
    case Encoding::kMlx2:
    case Encoding::kMlx3:
    case Encoding::kMlx4:
    case Encoding::kMlx5:
    case Encoding::kMlx6:
    case Encoding::kMlx8:
      return make_affine_source(tensor);
  }
  throw Error(ErrorCode::kUnsupported,
              "tensor " + tensor.name + ": encoding without a decoder");
}

std::vector<float> read_all_f32(const RawTensor& tensor) {
  const auto source = make_weight_source(tensor);
  std::vector<float> values(
      static_cast<size_t>(source->rows() * source->cols()));
  source->read_f32(0, source->rows(), values.data());
  if (tensor.addend != 0) {
    for (float& value : values) value += tensor.addend;
  }
  return values;
}

}  // namespace carat
