// What a model takes of a backend's memory, and whether it is there: asked
// before any weight is read.
#ifndef CARAT_ENGINE_MEMORY_PLAN_H_
#define CARAT_ENGINE_MEMORY_PLAN_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "backend/backend.h"
#include "carat/engine.h"
#include "model/checkpoint.h"
#include "model/quantization_plan.h"

namespace carat {

/// `context_tokens` and `chunk_tokens` >= 1; `quantize` may be null. Allocates
/// a workspace of a few rows for a moment. Throws: as check_model;
/// Error{kOutOfMemory}.
MemoryPlan plan_memory(const Checkpoint& checkpoint, Backend& backend,
                       int64_t context_tokens, int64_t chunk_tokens,
                       const QuantizationType* quantize);

/// What `storage` takes when it has grown to `blocks` >= 0.
int64_t planned_kv_bytes(const Backend& backend, const KvStorage& storage,
                         int64_t blocks);

/// What one session takes at its full context, prefilled in chunks.
int64_t planned_bytes(const MemoryPlan& plan);

/// The context that a session can have in `memory`: `requested`, or without it
/// as much of `model_context` as fits, in blocks of kBlockTokens.
/// `plan_of(context)` must not fall with the context.
/// Throws: Error{kOutOfMemory} if that does not fit, or not even one block,
/// with all its parts in the message; `device` names the memory there.
int64_t fit_context(const std::function<MemoryPlan(int64_t)>& plan_of,
                    const DeviceMemoryState& memory, const std::string& device,
                    std::optional<int64_t> requested, int64_t model_context);

}  // namespace carat

#endif  // CARAT_ENGINE_MEMORY_PLAN_H_
