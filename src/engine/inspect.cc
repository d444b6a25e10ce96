// A model file's description and memory plan, without its weights.
#include <algorithm>
#include <system_error>

#include "backend/registry.h"
#include "base/checked.h"
#include "carat/engine.h"
#include "engine/engine_impl.h"
#include "model/registry.h"
#include "quant/decoder.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

// The plan is asked of the objects that will really be made; their memory is
// only touched when used, so making them costs nothing.
MemoryPlan plan_memory(const Checkpoint& checkpoint, int64_t context_tokens,
                       int64_t chunk_tokens) {
  const ModelConfig& config = checkpoint.config();
  const std::unique_ptr<Backend> backend =
      make_backend({.name = "cpu", .isa = "auto", .threads = 1});
  MemoryPlan plan;
  plan.context_tokens = context_tokens;
  plan.chunk_tokens = chunk_tokens;
  for (const RawTensor& tensor : checkpoint.tensors()) {
    if (tensor.rows() == 1) {
      plan.weight_bytes += tensor.cols() * static_cast<int64_t>(sizeof(float));
      continue;
    }
    plan.weight_bytes += backend->packed_bytes(
        tensor.rows(), tensor.cols(), make_weight_source(tensor)->layout());
  }
  const KvCacheShape shape = cache_shape(config);
  for (int kind = 0; kind < kCacheKinds; ++kind) {
    const CacheKindShape& part = shape.kinds[kind];
    if (part.layers == 0) continue;
    int64_t tokens = context_tokens;
    if (part.window > 0) {
      // The window, one chunk, and the parts of blocks at both ends.
      tokens = std::min(
          tokens, part.window + std::min(chunk_tokens, tokens) + kBlockTokens);
    }
    const int64_t block_bytes = backend
                                    ->make_kv({.layers = part.layers,
                                               .kv_heads = shape.kv_heads,
                                               .head_dim = shape.head_dim})
                                    ->block_bytes();
    (part.window > 0 ? plan.kv_window_bytes : plan.kv_full_bytes) =
        ceil_div(tokens, kBlockTokens) * block_bytes;
  }
  plan.logits_bytes = config.vocab_size * static_cast<int64_t>(sizeof(float));
  Workspace chunked(*backend, config);
  chunked.fit(std::min(chunk_tokens, context_tokens), 1);
  plan.workspace_bytes = chunked.bytes() - plan.logits_bytes;
  plan.full_mode_logits_bytes = plan.logits_bytes * context_tokens;
  Workspace one(*backend, config), two(*backend, config);
  one.fit(1, 1);
  two.fit(2, 1);
  plan.full_mode_workspace_bytes =
      one.bytes() - plan.logits_bytes +
      (two.bytes() - one.bytes()) * (context_tokens - 1);
  return plan;
}

}  // namespace

ModelInfo inspect_model(const std::filesystem::path& path,
                        int64_t context_tokens, int64_t chunk_tokens) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  check_model(*checkpoint);
  load_checked_tokenizer(*checkpoint);
  ModelInfo info;
  info.format = checkpoint->format();
  info.config = checkpoint->config();
  for (const RawTensor& tensor : checkpoint->tensors()) {
    info.parameters += tensor.rows() * tensor.cols();
    info.tensors.push_back({tensor.name,
                            std::string(encoding_info(tensor.encoding).name),
                            tensor.shape, tensor.bytes()});
  }
  info.file_bytes = checkpoint->file_bytes();
  const auto optional = [](int64_t value) {
    return value == 0 ? std::nullopt : std::optional<int64_t>(value);
  };
  info.plan = plan_memory(
      *checkpoint, choose_context_tokens(optional(context_tokens), info.config),
      choose_chunk_tokens(optional(chunk_tokens), std::nullopt, info.config));
  return info;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (path.extension() == ".json") return load_json_tokenizer(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return open_checkpoint(path)->load_tokenizer();
  }
  return load_gguf_tokenizer(GgufFile(path));
}

}  // namespace carat
