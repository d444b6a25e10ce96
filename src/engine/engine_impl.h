// What an Engine is made of; shared by engine.cc and session.cc.
#ifndef CARAT_ENGINE_ENGINE_IMPL_H_
#define CARAT_ENGINE_ENGINE_IMPL_H_

#include <memory>
#include <optional>
#include <string>

#include "backend/registry.h"
#include "cache/kv_cache.h"
#include "carat/engine.h"
#include "generate/prefill.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/workspace.h"

namespace carat {

/// Members are destroyed in reverse: the backend goes last.
struct Engine::Impl {
  ModelConfig config;
  std::string chat_template;
  SamplingOptions sampling_defaults;
  int64_t context_tokens = 0;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<Workspace> workspace;  // one arena for all sessions
};

/// The checkpoint's tokenizer, every id of which but special ones has an
/// embedding (which may have more rows: padding). Throws: as
/// Checkpoint::load_tokenizer; Error{kCorrupt} otherwise.
std::unique_ptr<Tokenizer> load_checked_tokenizer(const Checkpoint& checkpoint);

/// Throws: Error{kInvalidArgument} if `requested` is out of [1, the model's].
int64_t choose_context_tokens(std::optional<int64_t> requested,
                              const ModelConfig& config);

}  // namespace carat

#endif  // CARAT_ENGINE_ENGINE_IMPL_H_
