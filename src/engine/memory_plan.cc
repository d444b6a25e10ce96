#include "engine/memory_plan.h"

#include <algorithm>
#include <string>

#include "base/checked.h"
#include "carat/error.h"
#include "model/registry.h"
#include "model/workspace.h"

namespace carat {
namespace {

// With one row of logits. Rows beyond a few are like those: nothing large is
// allocated.
int64_t workspace_bytes(Backend& backend, const ModelConfig& config,
                        int64_t rows) {
  constexpr int64_t kProbedRows = 64;
  const int64_t probed = std::min(rows, kProbedRows);
  Workspace workspace(backend, config);
  workspace.fit(0, 1);
  const int64_t fixed = workspace.bytes();
  workspace.fit(probed, 1);
  const int64_t bytes = workspace.bytes() - fixed;
  return fixed + bytes / probed * rows + bytes % probed * rows / probed;
}

// "1,234 MiB", rounded up.
std::string mebibytes(int64_t bytes) {
  const std::string digits = std::to_string(ceil_div(bytes, int64_t{1} << 20));
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text + " MiB";
}

}  // namespace

MemoryPlan plan_memory(const Checkpoint& checkpoint, Backend& backend,
                       int64_t context_tokens, int64_t chunk_tokens,
                       const QuantizationType* quantize) {
  const ModelConfig& config = checkpoint.config();
  MemoryPlan plan;
  plan.context_tokens = context_tokens;
  plan.chunk_tokens = chunk_tokens;
  plan.weight_bytes = count_weight_bytes(checkpoint, backend, quantize);
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
    const auto storage = backend.make_kv({.layers = part.layers,
                                          .kv_heads = shape.kv_heads,
                                          .head_dim = shape.head_dim});
    (part.window > 0 ? plan.kv_window_bytes : plan.kv_full_bytes) =
        planned_kv_bytes(backend, *storage, ceil_div(tokens, kBlockTokens));
  }
  plan.logits_bytes = config.vocab_size * static_cast<int64_t>(sizeof(float));
  const int lanes =
      context_tokens > chunk_tokens ? backend.lanes(chunk_tokens) : 1;
  plan.workspace_bytes =
      lanes * workspace_bytes(backend, config,
                              std::min(chunk_tokens, context_tokens)) -
      plan.logits_bytes;
  plan.full_mode_logits_bytes = plan.logits_bytes * context_tokens;
  plan.full_mode_workspace_bytes =
      workspace_bytes(backend, config, context_tokens) - plan.logits_bytes;
  return plan;
}

int64_t planned_kv_bytes(const Backend& backend, const KvStorage& storage,
                         int64_t blocks) {
  const int64_t slab = storage.slab_blocks();
  return ceil_div(blocks, slab) *
         backend.allocation_bytes(slab * storage.block_bytes());
}

int64_t planned_bytes(const MemoryPlan& plan) {
  return plan.weight_bytes + plan.kv_full_bytes + plan.kv_window_bytes +
         plan.workspace_bytes + plan.logits_bytes;
}

int64_t fit_context(const std::function<MemoryPlan(int64_t)>& plan_of,
                    const DeviceMemoryState& memory, const std::string& device,
                    std::optional<int64_t> requested, int64_t model_context) {
  const int64_t wanted = requested.value_or(model_context);
  const auto fits = [&](int64_t context) {
    return planned_bytes(plan_of(context)) + memory.own_bytes <=
           memory.free_bytes;
  };
  if (fits(wanted)) return wanted;
  // `low` blocks fit (or are none), `high` do not.
  int64_t low = 0, high = ceil_div(wanted, kBlockTokens);
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle * kBlockTokens) ? low : high) = middle;
  }
  if (low > 0 && !requested) return low * kBlockTokens;

  const int64_t shown = low > 0 ? wanted : std::min(wanted, kBlockTokens);
  const MemoryPlan plan = plan_of(shown);
  std::string message =
      "the model does not fit the memory of " + device + ": it needs " +
      mebibytes(planned_bytes(plan) + memory.own_bytes) + " (weights " +
      mebibytes(plan.weight_bytes) + ", KV cache of " + std::to_string(shown) +
      " tokens " + mebibytes(plan.kv_full_bytes + plan.kv_window_bytes) +
      ", workspace and logits " +
      mebibytes(plan.workspace_bytes + plan.logits_bytes + memory.own_bytes) +
      "); of " + mebibytes(memory.total_bytes) + " there are " +
      mebibytes(memory.free_bytes) + " free";
  if (low > 0) {
    message +=
        "; a context of " + std::to_string(low * kBlockTokens) + " would fit";
  }
  throw Error(ErrorCode::kOutOfMemory, message);
}

}  // namespace carat
