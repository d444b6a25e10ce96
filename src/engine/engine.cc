#include "carat/engine.h"

#include <utility>

#include "engine/engine_impl.h"
#include "engine/memory_plan.h"
#include "model/registry.h"

namespace carat {
namespace {

int64_t unset_chunk_tokens(const Backend& backend, const ModelConfig& config) {
  return choose_chunk_tokens(std::nullopt, backend.measured_chunk_tokens(),
                             config);
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& path,
                                     const EngineOptions& options) {
  auto impl = std::make_unique<Impl>();
  const QuantizationType* quantize =
      options.quantize.empty() ? nullptr : &find_quantization(options.quantize);
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  impl->config = checkpoint->config();
  impl->chat_template = checkpoint->chat_template();
  impl->sampling_defaults = checkpoint->sampling_defaults();
  impl->context_tokens =
      choose_context_tokens(options.context_tokens, impl->config);
  impl->backend = make_backend({.name = options.backend,
                                .isa = options.isa,
                                .threads = options.threads,
                                .device = options.device,
                                .pin_threads = options.pin_threads});
  impl->tokenizer = load_checked_tokenizer(*checkpoint);
  if (const auto memory = impl->backend->device_memory()) {
    impl->context_tokens = fit_context(
        [&](int64_t context) {
          return plan_memory(*checkpoint, *impl->backend, context,
                             unset_chunk_tokens(*impl->backend, impl->config),
                             quantize);
        },
        *memory, impl->backend->name(), options.context_tokens,
        impl->context_tokens);
  }
  impl->model =
      load_model(*checkpoint, *impl->backend, options.on_load, quantize);
  impl->cache =
      std::make_unique<KvCache>(*impl->backend, impl->model->cache_shape());
  impl->workspace = std::make_unique<Workspace>(*impl->backend, impl->config);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->config; }
const Tokenizer& Engine::tokenizer() const { return *impl_->tokenizer; }
const std::string& Engine::chat_template() const {
  return impl_->chat_template;
}
const SamplingOptions& Engine::sampling_defaults() const {
  return impl_->sampling_defaults;
}
std::string Engine::backend_name() const { return impl_->backend->name(); }
int Engine::threads() const { return impl_->backend->threads(); }
int64_t Engine::context_tokens() const { return impl_->context_tokens; }
int64_t Engine::weight_bytes() const { return impl_->model->weight_bytes(); }
int64_t Engine::default_chunk_tokens() const {
  return unset_chunk_tokens(*impl_->backend, impl_->config);
}

std::unique_ptr<Tokenizer> load_checked_tokenizer(
    const Checkpoint& checkpoint) {
  std::unique_ptr<Tokenizer> tokenizer = checkpoint.load_tokenizer();
  const int64_t rows = checkpoint.config().vocab_size;
  // Multimodal models have special tokens beyond: an image has no embedding.
  for (int64_t id = rows; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->is_special(static_cast<int32_t>(id))) continue;
    throw Error(ErrorCode::kCorrupt,
                checkpoint.path().string() + ": the tokenizer has " +
                    std::to_string(tokenizer->vocab_size()) +
                    " tokens, the embedding only " + std::to_string(rows) +
                    " rows");
  }
  return tokenizer;
}

int64_t choose_context_tokens(std::optional<int64_t> requested,
                              const ModelConfig& config) {
  if (!requested) return config.max_position_embeddings;
  if (*requested < 1 || *requested > config.max_position_embeddings) {
    throw Error(ErrorCode::kInvalidArgument,
                "context is " + std::to_string(*requested) +
                    " tokens; expected 1 to the model's " +
                    std::to_string(config.max_position_embeddings));
  }
  return *requested;
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace carat
