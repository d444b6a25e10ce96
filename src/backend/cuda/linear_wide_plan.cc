#include "backend/cuda/linear_wide_plan.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/linear_wide.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// What a thread block takes, in cycles: fitted to whole passes of 64 to 577
// rows of the 4B shape on an H100, of every width and count of parts.
int64_t work_cycles(int k_tiles, int width, int stores) {
  constexpr int64_t kWorkCycles = 4000;  // filling the pipeline, and an end
  constexpr int64_t kStoreCycles = 16;   // a column
  return kWorkCycles + kStoreCycles * width * stores +
         int64_t{k_tiles} * (400 + 3 * width) / 2;
}
constexpr int64_t kIdleCycles = 65;   // for a multiprocessor without work
constexpr int64_t kJoinBytes = 5000;  // a cycle, of the sums of a shared K

int64_t cycles_of(const LinearCall& call, int works, int width, int processors,
                  bool is_beside) {
  const int length = range_tiles(call.input.k_tiles);
  const int ranges =
      (range_count(call.input.k_tiles) + call.k_parts - 1) / call.k_parts;
  const int rounds = (works + processors - 1) / processors;
  const int64_t one = work_cycles(std::min(call.input.k_tiles, ranges * length),
                                  width, call.k_parts > 1 ? ranges : 1);
  const int64_t alone =
      rounds * one + kIdleCycles * std::max(0, processors - works);
  // What one lane leaves idle the other one uses: half of the cost is the share
  // of the device that is taken (none, four fifths or all of it were slower).
  return is_beside ? (alone + one * works / processors) / 2 : alone;
}

}  // namespace

WidePlan plan_wide(const DeviceTraits& device, const LinearCall& given,
                   bool gated, int64_t most_partial_bytes, bool is_beside) {
  LinearCall call = given;
  const int ranges = range_count(call.input.k_tiles);
  const bool may_share = !gated && call.piece_count == 1;
  const int64_t row_bytes =
      int64_t{call.rows} * round_up(call.pieces[0].weight.rows, 4) * 4;
  WidePlan best;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const int width : kWidths) {
    for (call.k_parts = 1; call.k_parts <= ranges; ++call.k_parts) {
      const bool is_shared = call.k_parts > 1;
      const int64_t bytes =
          is_shared ? slots_of(ranges, call.k_parts) * row_bytes : 0;
      if (is_shared && (!may_share || bytes > most_partial_bytes)) break;
      const int works = WideCut(call, width, gated).works;
      const int64_t cycles =
          cycles_of(call, works, width, device.processors, is_beside) +
          bytes / kJoinBytes;
      // Of equals the wider one: it expands weights less often.
      if (cycles <= least) {
        least = cycles;
        best = {width, call.k_parts, bytes, is_beside};
      }
      // More parts would make more rounds.
      if (works > 2 * device.processors) break;
    }
  }
  return best;
}

WidePlan WidePlans::of(const LinearCall& call, bool gated) {
  const Shape shape = {call.rows,          call.tile_count,
                       call.input.k_tiles, call.pieces[0].weight.rows,
                       call.piece_count,   gated};
  for (const Entry& entry : entries_) {
    if (entry.shape == shape) return entry.plan;
  }
  const Entry entry = {
      shape, plan_wide(device_, call, gated, most_partial_bytes_, is_beside_)};
  if (entries_.size() < kMostEntries) {
    entries_.push_back(entry);
  } else {
    entries_[next_] = entry;
    next_ = (next_ + 1) % kMostEntries;
  }
  return entry.plan;
}

}  // namespace carat::cuda
