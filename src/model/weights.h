// A model's weights in a backend's memory, by role.
#ifndef CARAT_MODEL_WEIGHTS_H_
#define CARAT_MODEL_WEIGHTS_H_

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "carat/options.h"
#include "model/checkpoint.h"
#include "model/quantization_plan.h"

namespace carat {

/// Fetches weights one by one from a checkpoint, checks each against the shape
/// the config asks for, and packs it for a backend. Counts the bytes of the
/// file it has taken, for progress.
class WeightLoader {
 public:
  /// All must outlive the loader. `on_load` may be empty. With `quantize`,
  /// dense matrices are quantised to what plan_encoding says.
  WeightLoader(const Checkpoint& checkpoint, Backend& backend,
               const ProgressCallback& on_load,
               const QuantizationType* quantize = nullptr);

  /// A loader that only checks and counts: what it returns is null. `sizes`
  /// may be null: it then counts nothing.
  static WeightLoader counting(const Checkpoint& checkpoint,
                               const Backend* sizes,
                               const QuantizationType* quantize = nullptr);
  /// What the weights fetched so far take in the backend's memory.
  int64_t packed_bytes() const { return packed_bytes_; }

  /// The matrix [rows, cols]. Throws: Error{kCorrupt} if it is missing or has
  /// another shape, Error{kCancelled}, Error{kOutOfMemory}.
  std::unique_ptr<PackedMatrix> matrix(const std::string& role, int64_t rows,
                                       int64_t cols);
  /// The vector [size]. Throws: as matrix.
  std::unique_ptr<Buffer> vector(const std::string& role, int64_t size);
  /// Whether the checkpoint has it.
  bool has(const std::string& role) const;

 private:
  WeightLoader(const Checkpoint& checkpoint, Backend* backend,
               const Backend* sizes, const ProgressCallback* on_load,
               const QuantizationType* quantize);
  void count(int64_t bytes);
  const RawTensor& require_tensor(const std::string& role, int64_t rows,
                                  int64_t cols) const;
  // Counts it for progress and gives its bytes back.
  void finish(const RawTensor& tensor);

  const Checkpoint& checkpoint_;
  Backend* backend_;      // null: only checks
  const Backend* sizes_;  // null: counts nothing
  const ProgressCallback* on_load_;
  const QuantizationType* quantize_;
  int64_t total_bytes_ = 0;
  int64_t done_bytes_ = 0;
  int64_t packed_bytes_ = 0;
};

}  // namespace carat

#endif  // CARAT_MODEL_WEIGHTS_H_
