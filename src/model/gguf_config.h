// ModelConfig -> GGUF metadata: what gguf_checkpoint.cc reads.
#ifndef CARAT_MODEL_GGUF_CONFIG_H_
#define CARAT_MODEL_GGUF_CONFIG_H_

#include "carat/model_config.h"
#include "formats/gguf_writer.h"

namespace carat {

/// Adds general.architecture, general.name, general.quantization_version and
/// the architecture's keys, as llama.cpp reads them.
/// Throws: Error{kUnsupported} for layers that GGUF can't describe: windows
/// that differ, or global layers not at every n-th place.
void write_gguf_config(GgufFileWriter& writer, const ModelConfig& config);

/// GGUF has no query_pre_attn_scalar: what a reader takes it for.
double gguf_query_scalar(const ModelConfig& config);

}  // namespace carat

#endif  // CARAT_MODEL_GGUF_CONFIG_H_
