// A checkpoint whose dense matrices are the numbers that their 8-bit codes
// stand for: what a backend that keeps codes multiplies with, for the
// reference, which would read them as they are.
#ifndef CARAT_TESTS_MODEL_EIGHT_BIT_CHECKPOINT_H_
#define CARAT_TESTS_MODEL_EIGHT_BIT_CHECKPOINT_H_

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "quant/decoder.h"

namespace carat {

class EightBitCheckpoint : public Checkpoint {
 public:
  explicit EightBitCheckpoint(const std::filesystem::path& path)
      : from_(open_checkpoint(path)) {
    config_ = from_->config();
    path_ = from_->path();
  }

  std::string format() const override { return from_->format(); }
  const RawTensor* find(std::string_view name) const override {
    const RawTensor* tensor = from_->find(name);
    if (tensor == nullptr || tensor->rows() == 1 ||
        tensor->encoding > Encoding::kBF16) {
      return tensor;
    }
    const auto [place, is_new] = rounded_.try_emplace(tensor);
    if (is_new) round(*tensor, place->second);
    return &place->second.tensor;
  }
  void release(const RawTensor&) const override {}
  const std::vector<RawTensor>& tensors() const override {
    return from_->tensors();
  }
  std::unique_ptr<Tokenizer> load_tokenizer() const override {
    return from_->load_tokenizer();
  }

 private:
  struct Rounded {
    std::vector<float> numbers;
    RawTensor tensor;
  };

  static void round(const RawTensor& from, Rounded& to) {
    const auto source = make_weight_source(from);
    QuantizedMatrix matrix;
    source->read(0, source->rows(), matrix);
    const int64_t group = matrix.layout.group;
    for (int64_t row = 0; row < matrix.rows; ++row) {
      for (int64_t col = 0; col < matrix.cols; ++col) {
        const auto at = static_cast<size_t>(row * matrix.cols + col);
        const auto of_group =
            static_cast<size_t>(row * matrix.groups() + col / group);
        to.numbers.push_back(dequantize(
            matrix.codes[at], matrix.scales[of_group], 0, matrix.layout));
      }
    }
    to.tensor = from;
    to.tensor.encoding = Encoding::kF32;
    to.tensor.data = std::as_bytes(std::span(to.numbers));
  }

  std::unique_ptr<Checkpoint> from_;
  mutable std::map<const RawTensor*, Rounded> rounded_;
};

}  // namespace carat

#endif  // CARAT_TESTS_MODEL_EIGHT_BIT_CHECKPOINT_H_
