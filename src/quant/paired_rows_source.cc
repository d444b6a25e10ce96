#include "quant/paired_rows_source.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "carat/error.h"
#include "quant/decoder.h"

namespace carat {
namespace {

RawTensor as_stored(RawTensor tensor) {
  tensor.paired_head_rows = 0;
  return tensor;
}

class PairedRowsSource final : public WeightSource {
 public:
  PairedRowsSource(const RawTensor& tensor, const QuantizedLayout& layout)
      : WeightSource(tensor.rows(), tensor.cols(), layout),
        stored_(as_stored(tensor)),
        head_rows_(tensor.paired_head_rows) {}

  void read(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    std::vector<std::byte> bytes;
    const RawTensor part = gather(first, count, bytes);
    make_weight_source(part)->read(0, count, out);
  }
  void read_f32(int64_t first, int64_t count, float* out) const override {
    std::vector<std::byte> bytes;
    const RawTensor part = gather(first, count, bytes);
    make_weight_source(part)->read_f32(0, count, out);
  }

 private:
  // The rows as a tensor of their own, in `bytes`.
  RawTensor gather(int64_t first, int64_t count,
                   std::vector<std::byte>& bytes) const {
    const size_t row_bytes = stored_.data.size() / static_cast<size_t>(rows());
    bytes.resize(static_cast<size_t>(count) * row_bytes);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = first + i;
      const int64_t in_head = row % head_rows_;
      const int64_t half = head_rows_ / 2;
      const int64_t stored =
          row - in_head + in_head % half * 2 + in_head / half;
      std::memcpy(bytes.data() + static_cast<size_t>(i) * row_bytes,
                  stored_.data.data() + static_cast<size_t>(stored) * row_bytes,
                  row_bytes);
    }
    RawTensor part = stored_;
    part.shape[0] = count;
    part.data = bytes;
    return part;
  }

  RawTensor stored_;
  int64_t head_rows_;
};

}  // namespace

std::unique_ptr<WeightSource> make_paired_rows_source(const RawTensor& tensor) {
  if (tensor.shape.size() != 2 || tensor.affine.group != 0 ||
      tensor.paired_head_rows % 2 != 0 ||
      tensor.rows() % tensor.paired_head_rows != 0) {
    throw Error(ErrorCode::kCorrupt,
                "tensor " + tensor.name + ": its " +
                    std::to_string(tensor.rows()) +
                    " rows are not heads of pairs, " +
                    std::to_string(tensor.paired_head_rows) + " each");
  }
  const QuantizedLayout layout =
      make_weight_source(as_stored(tensor))->layout();
  return std::make_unique<PairedRowsSource>(tensor, layout);
}

}  // namespace carat
