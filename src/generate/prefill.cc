#include "generate/prefill.h"

#include <algorithm>
#include <deque>
#include <string>

#include "base/require.h"

namespace carat {
namespace {

// Chunks that have been submitted and not yet waited for.
class InFlight {
 public:
  InFlight(Backend& backend, int lanes, int64_t total,
           const ProgressCallback& on_progress)
      : backend_(backend),
        limit_(backend.eager() ? 0 : static_cast<size_t>(lanes)),
        total_(total),
        on_progress_(on_progress) {}

  void push(int64_t processed) {
    chunks_.push_back({backend_.submit(), processed});
    while (chunks_.size() > limit_) finish_oldest();
  }
  void finish_all() {
    while (!chunks_.empty()) finish_oldest();
  }

 private:
  struct Submitted {
    int64_t ticket;
    int64_t processed;
  };

  void finish_oldest() {
    const Submitted chunk = chunks_.front();
    chunks_.pop_front();
    backend_.wait(chunk.ticket);
    if (on_progress_ && !on_progress_(chunk.processed, total_)) {
      // What is still running may use the workspace: let it end.
      if (!chunks_.empty()) backend_.wait(chunks_.back().ticket);
      throw Error(ErrorCode::kCancelled, "prefill was cancelled after " +
                                             std::to_string(chunk.processed) +
                                             " of " + std::to_string(total_) +
                                             " tokens");
    }
  }

  Backend& backend_;
  size_t limit_;  // submitted chunks left running while the next is prepared
  int64_t total_;
  const ProgressCallback& on_progress_;
  std::deque<Submitted> chunks_;
};

// Puts chunks into the backend's lanes in turn.
class Lanes {
 public:
  Lanes(Workspace& workspace, int count)
      : workspace_(workspace), count_(count) {}
  ~Lanes() {
    if (count_ > 1) workspace_.backend().join_lanes();
  }
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  // For the next chunk.
  Workspace& next() {
    if (count_ == 1) return workspace_;
    lane_ = (lane_ + 1) % count_;
    workspace_.backend().use_lane(lane_);
    return workspace_.of_lane(lane_);
  }

 private:
  Workspace& workspace_;
  int count_;
  int lane_ = -1;
};

}  // namespace

int64_t choose_chunk_tokens(std::optional<int64_t> requested,
                            std::optional<int64_t> measured,
                            const ModelConfig& config) {
  if (!requested) return measured.value_or(config.default_chunk_tokens);
  if (*requested < 1) {
    throw Error(ErrorCode::kInvalidArgument, "chunk size is " +
                                                 std::to_string(*requested) +
                                                 "; expected at least 1");
  }
  return *requested;
}

std::vector<Chunk> plan_chunks(int64_t tokens, int64_t chunk_tokens) {
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < tokens;) {
    const int64_t end = begin + std::min(chunk_tokens, tokens - begin);
    chunks.push_back({begin, end});
    begin = end;
  }
  return chunks;
}

Matrix prefill_chunked(Model& model, Workspace& workspace, KvSequence& sequence,
                       std::span<const int32_t> tokens, int64_t chunk_tokens,
                       const ProgressCallback& on_progress) {
  require(!tokens.empty(), "prefill: the prompt has no token");
  const auto total = static_cast<int64_t>(tokens.size());
  const std::vector<Chunk> chunks = plan_chunks(total, chunk_tokens);
  Backend& backend = workspace.backend();
  const int lane_count =
      chunks.size() > 1
          ? workspace.fit_lanes(backend.lanes(chunk_tokens), chunk_tokens)
          : 1;
  InFlight in_flight(backend, lane_count, total, on_progress);
  Lanes lanes(workspace, lane_count);
  Matrix logits;
  for (const Chunk& chunk : chunks) {
    const bool is_last = chunk.end == total;
    const BatchSequence entry{
        &sequence, tokens.subspan(chunk.begin, chunk.end - chunk.begin),
        is_last ? LogitsWanted::kLast : LogitsWanted::kNone};
    logits = model.forward({&entry, 1}, lanes.next());
    in_flight.push(chunk.end);
  }
  in_flight.finish_all();
  return logits;
}

Matrix prefill_full(Model& model, Workspace& workspace, KvSequence& sequence,
                    std::span<const int32_t> tokens,
                    const ProgressCallback& on_progress) {
  require(!tokens.empty(), "prefill: the prompt has no token");
  const auto total = static_cast<int64_t>(tokens.size());
  InFlight in_flight(workspace.backend(), 1, total, on_progress);
  const BatchSequence entry{&sequence, tokens, LogitsWanted::kAll};
  const Matrix logits = model.forward({&entry, 1}, workspace);
  in_flight.push(total);
  in_flight.finish_all();
  return logits;
}

}  // namespace carat
