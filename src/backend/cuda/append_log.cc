#include "backend/cuda/append_log.h"

namespace carat::cuda {

void AppendLog::note(uint64_t flush, const CudaKv& kv, int layer,
                     std::span<const SequenceRows> sequences) {
  if (flush != flush_) appended_.clear();
  flush_ = flush;
  appended_[{&kv, layer}] = places_of(sequences);
}

bool AppendLog::has(uint64_t flush, const CudaKv& kv, int layer) const {
  return flush == flush_ && appended_.contains({&kv, layer});
}

bool AppendLog::is_of(uint64_t flush, const CudaKv& kv, int layer,
                      std::span<const SequenceRows> sequences) const {
  if (flush != flush_) return false;
  const auto found = appended_.find({&kv, layer});
  return found != appended_.end() && found->second == places_of(sequences);
}

AppendLog::Places AppendLog::places_of(
    std::span<const SequenceRows> sequences) {
  Places places;
  for (const SequenceRows& sequence : sequences) {
    places.emplace_back(sequence.first_position, sequence.rows);
  }
  return places;
}

}  // namespace carat::cuda
