// The two kinds of output of quantize_model.
#ifndef CARAT_CONVERT_OUTPUTS_H_
#define CARAT_CONVERT_OUTPUTS_H_

#include <filesystem>

#include "base/thread_pool.h"
#include "carat/quantize.h"
#include "model/checkpoint.h"
#include "model/quantization_plan.h"

namespace carat {

/// What is written, from where, how.
struct Conversion {
  const Checkpoint& checkpoint;
  const QuantizationType& type;
  const QuantizeOptions& options;
  ThreadPool& pool;
  const std::filesystem::path& to;
};

/// Throws: as quantize_model.
void write_gguf_output(const Conversion& conversion);
void write_mlx_output(const Conversion& conversion);

}  // namespace carat

#endif  // CARAT_CONVERT_OUTPUTS_H_
