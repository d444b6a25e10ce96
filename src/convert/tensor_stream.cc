#include "convert/tensor_stream.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <utility>

#include "carat/error.h"
#include "quant/decoder.h"
#include "quant/rounding.h"

namespace carat {
namespace {

// Numbers that a thread encodes at a time: its scratch should stay in its
// cache. Threads take such pieces as they come, since one also writes.
constexpr int64_t kPieceValues = 1 << 16;
// Of a chunk, encoded while the one before is written.
constexpr int64_t kPieces = 32;
constexpr int64_t kPiecesPerThread = 8;

/// Rows of another source, in heads, as pairs.
class PairedOrder final : public WeightSource {
 public:
  PairedOrder(std::unique_ptr<WeightSource> source, int64_t head_rows)
      : WeightSource(source->rows(), source->cols(), source->layout()),
        source_(std::move(source)),
        head_rows_(head_rows) {}

  void read(int64_t, int64_t, QuantizedMatrix&) const override {}
  void read_f32(int64_t first, int64_t count, float* out) const override {
    for (int64_t row = first; row < first + count; ++row) {
      const int64_t in_head = row % head_rows_;
      const int64_t from =
          row - in_head + in_head % 2 * (head_rows_ / 2) + in_head / 2;
      source_->read_f32(from, 1, out);
      out += cols();
    }
  }

 private:
  std::unique_ptr<WeightSource> source_;
  int64_t head_rows_;
};

}  // namespace

TensorStream::TensorStream(const Checkpoint& checkpoint, ThreadPool& pool,
                           const ProgressCallback& on_progress)
    : checkpoint_(checkpoint), pool_(pool), on_progress_(on_progress) {
  for (const RawTensor& tensor : checkpoint.tensors()) {
    total_bytes_ += tensor.bytes();
  }
}

EncodedRows TensorStream::copy(const RawTensor& tensor, Encoding encoding,
                               int64_t head_rows, const Write& write) {
  std::unique_ptr<WeightSource> source = make_weight_source(tensor);
  if (head_rows > 0) {
    source = std::make_unique<PairedOrder>(std::move(source), head_rows);
  }
  const int64_t rows = source->rows();
  const int64_t cols = source->cols();
  const EncodingInfo& info = encoding_info(encoding);
  const int64_t row_bytes = cols / info.block_values * info.block_bytes;
  const int64_t groups = is_affine(encoding) ? cols / kMlxGroup : 0;
  EncodedRows affine;
  affine.scales.resize(static_cast<size_t>(rows * groups * 2));
  affine.biases.resize(static_cast<size_t>(rows * groups * 2));
  const int64_t piece = std::clamp<int64_t>(kPieceValues / cols, 1, rows);
  const int64_t pieces =
      std::max<int64_t>(kPieces, kPiecesPerThread * pool_.size());
  const int64_t chunk = std::min(piece * pieces, rows);
  std::vector<std::byte> encoded(static_cast<size_t>(chunk * row_bytes));
  std::vector<std::byte> before(encoded.size());
  std::span<const std::byte> unwritten;
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    std::atomic<int64_t> next = 0;
    std::atomic<bool> read_finite = true, written_finite = true;
    std::exception_ptr failed;
    pool_.run([&](int thread) {
      if (thread == 0) {
        try {
          if (!unwritten.empty()) write(unwritten);
        } catch (...) {
          failed = std::current_exception();
        }
      }
      std::vector<float> values;
      EncodedRows part;
      for (int64_t row; (row = next.fetch_add(piece)) < count;) {
        const int64_t some = std::min(piece, count - row);
        encode_rows(*source, first + row, some, encoding, values, part);
        if (!all_finite(values)) read_finite = false;
        if (!part.is_finite(encoding)) written_finite = false;
        std::ranges::copy(part.data, encoded.begin() + row * row_bytes);
        const int64_t group = (first + row) * groups * 2;
        std::ranges::copy(part.scales, affine.scales.begin() + group);
        std::ranges::copy(part.biases, affine.biases.begin() + group);
      }
    });
    if (failed) std::rethrow_exception(failed);
    check_finite(tensor, read_finite, written_finite);
    std::swap(encoded, before);
    unwritten = std::span(before).first(static_cast<size_t>(count * row_bytes));
    advance(tensor, first, count);
  }
  write(unwritten);
  return affine;
}

void TensorStream::check_finite(const RawTensor& tensor,
                                std::span<const float> read,
                                std::span<const float> written) const {
  check_finite(tensor, all_finite(read), all_finite(written));
}

void TensorStream::check_finite(const RawTensor& tensor, bool read,
                                bool written) const {
  if (read && written) return;
  throw Error(read ? ErrorCode::kUnsupported : ErrorCode::kCorrupt,
              checkpoint_.path().string() + ": tensor " + tensor.name +
                  (read ? " has a number too large for what is written"
                        : " has a number that is not finite"));
}

void TensorStream::finish(const RawTensor& tensor) {
  checkpoint_.release(tensor);
  done_bytes_ += tensor.bytes();
  report();
}

void TensorStream::advance(const RawTensor& tensor, int64_t first,
                           int64_t count) {
  const auto rows_of = [&](std::span<const std::byte> bytes) {
    const size_t row = bytes.size() / static_cast<size_t>(tensor.rows());
    return bytes.subspan(static_cast<size_t>(first) * row,
                         static_cast<size_t>(count) * row);
  };
  RawTensor part = tensor;
  part.data = rows_of(tensor.data);
  part.affine.scales = rows_of(tensor.affine.scales);
  part.affine.biases = rows_of(tensor.affine.biases);
  checkpoint_.release(part);
  done_bytes_ += part.bytes();
  report();
}

void TensorStream::report() {
  if (on_progress_ && !on_progress_(done_bytes_, total_bytes_)) {
    throw Error(ErrorCode::kCancelled, "quantising was cancelled");
  }
}

}  // namespace carat
