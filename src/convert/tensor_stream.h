// One matrix from a checkpoint to a file, some rows at a time.
#ifndef CARAT_CONVERT_TENSOR_STREAM_H_
#define CARAT_CONVERT_TENSOR_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "carat/options.h"
#include "model/checkpoint.h"
#include "quant/quantizing_source.h"
#include "tensor/weight_source.h"

namespace carat {

/// Reads and encodes with all threads, writes with the calling one meanwhile,
/// gives back the memory of what has been read and counts it for progress. Not
/// thread-safe.
class TensorStream {
 public:
  using Write = std::function<void(std::span<const std::byte>)>;

  /// All must outlive it.
  TensorStream(const Checkpoint& checkpoint, ThreadPool& pool,
               const ProgressCallback& on_progress);

  /// The matrix `tensor` in `encoding`: `write` gets its rows in order. Of an
  /// affine encoding these are the codes; the scales and biases of all rows are
  /// what is returned. With `head_rows`, rows of each so many go out as pairs
  /// (0, d/2, 1, d/2 + 1, ...).
  /// Throws: Error{kCorrupt} for a number that is not finite,
  /// Error{kUnsupported} for one too large for the encoding's scales,
  /// Error{kCancelled}; as `write`.
  EncodedRows copy(const RawTensor& tensor, Encoding encoding,
                   int64_t head_rows, const Write& write);

  /// Of a tensor that is read and written otherwise.
  /// Throws: Error{kCorrupt} if one of `read`, the tensor's numbers, is not
  /// finite, Error{kUnsupported} if one of `written`, made of them, is not.
  void check_finite(const RawTensor& tensor, std::span<const float> read,
                    std::span<const float> written) const;
  /// Counts such a tensor.
  void finish(const RawTensor& tensor);

 private:
  void check_finite(const RawTensor& tensor, bool read, bool written) const;
  void advance(const RawTensor& tensor, int64_t first, int64_t count);
  void report();

  const Checkpoint& checkpoint_;
  ThreadPool& pool_;
  const ProgressCallback& on_progress_;
  int64_t total_bytes_ = 0;
  int64_t done_bytes_ = 0;
};

}  // namespace carat

#endif  // CARAT_CONVERT_TENSOR_STREAM_H_
