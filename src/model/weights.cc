#include "model/weights.h"

#include "carat/error.h"
#include "quant/decoder.h"
#include "quant/quantizing_source.h"

namespace carat {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Backend& backend,
                           const ProgressCallback& on_load,
                           const QuantizationType* quantize)
    : WeightLoader(checkpoint, &backend, &backend, &on_load, quantize) {}

WeightLoader WeightLoader::counting(const Checkpoint& checkpoint,
                                    const Backend* sizes,
                                    const QuantizationType* quantize) {
  return {checkpoint, nullptr, sizes, nullptr, quantize};
}

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Backend* backend,
                           const Backend* sizes,
                           const ProgressCallback* on_load,
                           const QuantizationType* quantize)
    : checkpoint_(checkpoint),
      backend_(backend),
      sizes_(sizes),
      on_load_(on_load),
      quantize_(quantize) {
  for (const RawTensor& tensor : checkpoint.tensors()) {
    total_bytes_ += tensor.bytes();
  }
}

bool WeightLoader::has(const std::string& role) const {
  return checkpoint_.find(role) != nullptr;
}

const RawTensor& WeightLoader::require_tensor(const std::string& role,
                                              int64_t rows,
                                              int64_t cols) const {
  const RawTensor* tensor = checkpoint_.find(role);
  const std::string subject = checkpoint_.path().string() + ": ";
  if (tensor == nullptr) {
    throw Error(ErrorCode::kCorrupt, subject + "no tensor for " + role);
  }
  if (tensor->rows() != rows || tensor->cols() != cols) {
    const std::vector<int64_t> expected =
        rows == 1 ? std::vector<int64_t>{cols}
                  : std::vector<int64_t>{rows, cols};
    throw Error(ErrorCode::kCorrupt, subject + "tensor " + tensor->name +
                                         " has shape " +
                                         shape_text(tensor->shape) +
                                         "; expected " + shape_text(expected));
  }
  return *tensor;
}

void WeightLoader::finish(const RawTensor& tensor) {
  checkpoint_.release(tensor);
  done_bytes_ += tensor.bytes();
  if (*on_load_ && !(*on_load_)(done_bytes_, total_bytes_)) {
    throw Error(ErrorCode::kCancelled, "loading was cancelled");
  }
}

void WeightLoader::count(int64_t bytes) {
  packed_bytes_ += sizes_->allocation_bytes(bytes);
}

std::unique_ptr<PackedMatrix> WeightLoader::matrix(const std::string& role,
                                                   int64_t rows, int64_t cols) {
  const RawTensor& tensor = require_tensor(role, rows, cols);
  std::unique_ptr<WeightSource> source = make_weight_source(tensor);
  if (quantize_ != nullptr && tensor.encoding <= Encoding::kBF16) {
    const Encoding encoding =
        plan_encoding(*quantize_, role, std::ssize(checkpoint_.config().layers),
                      cols, !has("lm_head"));
    if (encoding > Encoding::kBF16) {
      source = make_quantizing_source(std::move(source), encoding);
    }
  }
  if (sizes_ != nullptr) {
    count(sizes_->packed_bytes(rows, cols, source->layout()));
  }
  if (backend_ == nullptr) return nullptr;
  std::unique_ptr<PackedMatrix> packed = backend_->pack(*source);
  finish(tensor);
  return packed;
}

std::unique_ptr<Buffer> WeightLoader::vector(const std::string& role,
                                             int64_t size) {
  const RawTensor& tensor = require_tensor(role, 1, size);
  if (sizes_ != nullptr) count(size * static_cast<int64_t>(sizeof(float)));
  if (backend_ == nullptr) return nullptr;
  std::unique_ptr<Buffer> buffer = backend_->upload(read_all_f32(tensor));
  finish(tensor);
  return buffer;
}

}  // namespace carat
