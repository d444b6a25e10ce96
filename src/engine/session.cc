#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "carat/engine.h"
#include "engine/engine_impl.h"
#include "generate/sampler.h"
#include "generate/stop_matcher.h"
#include "model/batch_rows.h"

namespace carat {
namespace {

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

struct Session::Impl {
  explicit Impl(Engine::Impl& shared)
      : engine(shared), sequence(*shared.cache) {}

  void check_room(size_t tokens) const {
    const int64_t wanted = sequence.length() + static_cast<int64_t>(tokens);
    if (wanted <= engine.context_tokens) return;
    throw Error(ErrorCode::kInvalidArgument,
                std::to_string(wanted) + " tokens do not fit the context of " +
                    std::to_string(engine.context_tokens));
  }

  // Row `row` of the wanted logits, on the host, softcap applied.
  std::span<const float> read_row(Matrix rows, int64_t row) {
    logits.resize(static_cast<size_t>(engine.config.vocab_size));
    engine.backend->read(rows, row, logits.data());
    const double cap = engine.config.final_logit_softcapping;
    if (cap > 0) {
      for (float& logit : logits) {
        logit = static_cast<float>(cap * std::tanh(logit / cap));
      }
    }
    return logits;
  }

  // A cancelled or failed prefill may leave blocks reserved beyond the length:
  // they are used by the next tokens.
  std::span<const float> prefill(std::span<const int32_t> tokens,
                                 const PrefillOptions& options) {
    if (tokens.empty()) {
      throw Error(ErrorCode::kInvalidArgument, "the prompt has no token");
    }
    check_room(tokens.size());
    // All before any is run: a bad id late in a prompt must not leave its
    // first chunks in the cache.
    check_token_ids(tokens, engine.config);
    if (options.mode == PrefillMode::kFull) {
      // Its own arena, so that its size is given back.
      Workspace workspace(*engine.backend, engine.config);
      const Matrix rows = prefill_full(*engine.model, workspace, sequence,
                                       tokens, options.on_progress);
      transient_bytes = workspace.bytes();
      return read_row(rows, rows.rows - 1);
    }
    const Matrix rows =
        prefill_chunked(*engine.model, *engine.workspace, sequence, tokens,
                        chunk_tokens(options), options.on_progress);
    transient_bytes = engine.workspace->bytes();
    return read_row(rows, 0);
  }

  int64_t chunk_tokens(const PrefillOptions& options) const {
    return choose_chunk_tokens(options.chunk_tokens,
                               engine.backend->measured_chunk_tokens(),
                               engine.config);
  }

  Engine::Impl& engine;
  KvSequence sequence;
  std::vector<float> logits;
  int64_t transient_bytes = 0;
};

Session::Session(Engine& engine)
    : impl_(std::make_unique<Impl>(*engine.impl_)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

int64_t Session::position() const { return impl_->sequence.length(); }
void Session::reset() { impl_->sequence.clear(); }
int64_t Session::transient_bytes() const { return impl_->transient_bytes; }
int64_t Session::kv_bytes() const {
  return impl_->engine.cache->bytes_in_use();
}

std::span<const float> Session::prefill(std::span<const int32_t> tokens,
                                        const PrefillOptions& options) {
  return impl_->prefill(tokens, options);
}

std::span<const float> Session::decode(int32_t token) {
  return impl_->prefill({&token, 1}, {});
}

void Session::all_logits(
    std::span<const int32_t> tokens, const PrefillOptions& options,
    const std::function<void(int64_t, std::span<const float>)>& on_row) {
  if (tokens.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "the text has no token");
  }
  impl_->check_room(tokens.size());
  check_token_ids(tokens, impl_->engine.config);
  Engine::Impl& engine = impl_->engine;
  Workspace workspace(*engine.backend, engine.config);
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t chunk_tokens =
      options.mode == PrefillMode::kFull ? total : impl_->chunk_tokens(options);
  for (const Chunk& chunk : plan_chunks(total, chunk_tokens)) {
    const Matrix rows =
        prefill_full(*engine.model, workspace, impl_->sequence,
                     tokens.subspan(chunk.begin, chunk.end - chunk.begin), {});
    for (int64_t row = 0; row < rows.rows; ++row) {
      on_row(chunk.begin + row, impl_->read_row(rows, row));
    }
    if (options.on_progress && !options.on_progress(chunk.end, total)) {
      throw Error(ErrorCode::kCancelled, "cancelled");
    }
  }
  impl_->transient_bytes = workspace.bytes();
}

GenerateResult Session::generate(std::span<const int32_t> prompt,
                                 const GenerateOptions& options) {
  if (options.max_tokens < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "max_tokens is " + std::to_string(options.max_tokens) +
                    "; expected at least 1");
  }
  Sampler sampler(options.sampling);
  StopMatcher stop(options.stop);
  const Tokenizer& tokenizer = *impl_->engine.tokenizer;
  StreamingDetokenizer detokenizer(tokenizer, /*skip_special=*/true);
  GenerateResult result;
  GenerateStats& stats = result.stats;
  stats.prompt_tokens = static_cast<int64_t>(prompt.size());
  stats.chunk_tokens = options.prefill.mode == PrefillMode::kFull
                           ? stats.prompt_tokens
                           : impl_->chunk_tokens(options.prefill);
  bool wants_more = true;
  const auto emit = [&](const std::string& text) {
    result.text += text;
    if (!text.empty() && options.on_text) wants_more = options.on_text(text);
  };
  const auto is_eos = [&](int32_t id) {
    if (options.ignore_eos) return false;
    for (const int32_t eos : tokenizer.eos()) {
      if (eos == id) return true;
    }
    return false;
  };

  const auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = prefill(prompt, options.prefill);
  stats.prefill_ms = ms_since(start);
  stats.transient_bytes = transient_bytes();
  result.first_logits.assign(logits.begin(), logits.end());

  std::vector<int32_t> history(prompt.begin(), prompt.end());
  std::chrono::steady_clock::time_point first_token_time;
  while (true) {
    // Rows beyond the tokenizer's ids are padding: they have no text.
    const auto named = std::min<size_t>(logits.size(), tokenizer.vocab_size());
    const int32_t id = sampler.sample(logits.first(named), history, position());
    history.push_back(id);
    result.tokens.push_back(id);
    const bool ended = is_eos(id);
    if (!ended) emit(stop.push(detokenizer.push(id)));
    if (result.tokens.size() == 1) {
      first_token_time = std::chrono::steady_clock::now();
      stats.time_to_first_token_ms = ms_since(start);
    }
    if (ended) {
      result.finish_reason = FinishReason::kEos;
    } else if (stop.matched()) {
      result.finish_reason = FinishReason::kStop;
    } else if (!wants_more) {
      result.finish_reason = FinishReason::kCancelled;
    } else if (static_cast<int64_t>(result.tokens.size()) >=
               options.max_tokens) {
      result.finish_reason = FinishReason::kMaxTokens;
    } else if (position() >= impl_->engine.context_tokens) {
      result.finish_reason = FinishReason::kContextFull;
    } else {
      logits = decode(id);
      continue;
    }
    break;
  }
  if (wants_more) {
    emit(stop.push(detokenizer.finish()));
    emit(stop.finish());
  }
  stats.decode_ms = ms_since(first_token_time);
  stats.generated_tokens = static_cast<int64_t>(result.tokens.size());
  stats.kv_bytes = kv_bytes();
  return result;
}

}  // namespace carat
