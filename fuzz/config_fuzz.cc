// Any bytes are either a config.json that describes a model, or an Error.
//
//   cmake --preset fuzz && cmake --build --preset fuzz
//   mkdir -p corpus && build/fuzz/config_fuzz -max_len=65536 corpus SEEDS
//
// SEEDS is a folder of small files, such as the broken ones of the golden data
// (malformed-inputs/*/*/config.json).
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "carat/error.h"
#include "formats/json.h"
#include "model/config_limits.h"
#include "model/hf_config.h"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const carat::HfConfig config = carat::parse_hf_config(
        carat::parse_json_object(std::as_bytes(std::span(data, size)), "input"),
        "input");
    const carat::ModelConfig& model = config.model;
    check(!model.layers.empty() &&
          std::ssize(model.layers) <= carat::kMaxLayers);
    check(model.query_pre_attn_scalar > 0);
    for (const carat::LayerConfig& layer : model.layers) {
      check(layer.sliding_window >= 0);
      check(std::isfinite(layer.rope_theta) && layer.rope_theta > 0);
      check(std::isfinite(layer.rope_factor) && layer.rope_factor > 0);
    }
    for (const int32_t id : config.eos) check(id >= 0);
    carat::check_config_limits(model, std::ssize(model.layers), "input");
    check(model.num_attention_heads % model.num_key_value_heads == 0);
  } catch (const carat::Error&) {
  }
  return 0;
}
