#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_set>

#include "base/require.h"

namespace carat {
namespace {

constexpr size_t kPenaltyTokens = 64;

// splitmix64: a good 64-bit mix of consecutive inputs.
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
// OOPSLA 2014.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0, 1), 53 bits.
double uniform(uint64_t seed, int64_t position) {
  const uint64_t bits = mix(mix(seed) ^ static_cast<uint64_t>(position));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void check(bool condition, const char* name, const std::string& value,
           const char* expected) {
  if (condition) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string(name) + " is " + value + "; expected " + expected);
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options) : options_(options) {
  const SamplingOptions& o = options_;
  check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature",
        std::to_string(o.temperature), "a number >= 0");
  check(o.top_k >= 0, "top_k", std::to_string(o.top_k), "an integer >= 0");
  check(o.top_p > 0 && o.top_p <= 1, "top_p", std::to_string(o.top_p),
        "a number above 0, up to 1");
  check(o.min_p >= 0 && o.min_p <= 1, "min_p", std::to_string(o.min_p),
        "a number from 0 to 1");
  check(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty),
        "repeat_penalty", std::to_string(o.repeat_penalty), "a number above 0");
}

void Sampler::penalize(std::span<const int32_t> history) {
  if (options_.repeat_penalty == 1) return;
  const auto recent = history.last(std::min(history.size(), kPenaltyTokens));
  for (const int32_t id :
       std::unordered_set<int32_t>(recent.begin(), recent.end())) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    double& logit = candidates_[id].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty
                      : logit * options_.repeat_penalty;
  }
}

void Sampler::keep_top_k() {
  const auto by_logit = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto size = static_cast<int64_t>(candidates_.size());
  const int64_t k = options_.top_k == 0 ? size : std::min(options_.top_k, size);
  if (k < size) {
    std::nth_element(candidates_.begin(), candidates_.begin() + k,
                     candidates_.end(), by_logit);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), by_logit);
}

// Candidates are sorted; leaves those that top-p and min-p keep, and their
// unnormalised probabilities.
void Sampler::keep_probable() {
  probabilities_.clear();
  double sum = 0;
  for (const Candidate& candidate : candidates_) {
    probabilities_.push_back(std::exp((candidate.logit - candidates_[0].logit) /
                                      options_.temperature));
    sum += probabilities_.back();
  }
  size_t keep = 0;
  double kept = 0;
  while (keep < candidates_.size() && kept < options_.top_p * sum) {
    kept += probabilities_[keep++];
  }
  keep = std::max<size_t>(keep, 1);
  while (keep > 1 && probabilities_[keep - 1] < options_.min_p) --keep;
  candidates_.resize(keep);
  probabilities_.resize(keep);
}

int32_t Sampler::sample(std::span<const float> logits,
                        std::span<const int32_t> history, int64_t position) {
  require(!logits.empty(), "sample: there are no logits");
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) {
    // NaN would break the order of a sort; it is never the answer.
    const double logit =
        std::isnan(logits[id]) ? -HUGE_VAL : static_cast<double>(logits[id]);
    candidates_.push_back({logit, static_cast<int32_t>(id)});
  }
  penalize(history);
  if (options_.temperature == 0) {
    return std::max_element(candidates_.begin(), candidates_.end(),
                            [](const Candidate& a, const Candidate& b) {
                              return a.logit < b.logit;
                            })
        ->id;
  }
  keep_top_k();
  if (!std::isfinite(candidates_[0].logit)) return candidates_[0].id;
  keep_probable();
  double total = 0;
  for (const double p : probabilities_) total += p;
  double left = uniform(options_.seed, position) * total;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    left -= probabilities_[i];
    if (left < 0) return candidates_[i].id;
  }
  return candidates_.back().id;
}

}  // namespace carat
