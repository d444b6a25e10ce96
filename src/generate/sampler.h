// Logits -> the next token.
#ifndef CARAT_GENERATE_SAMPLER_H_
#define CARAT_GENERATE_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "carat/options.h"

namespace carat {

/// Draws tokens as SamplingOptions says. The draw is a function of the logits,
/// the recent tokens, the seed and the position alone: the same on every run,
/// whatever else was drawn. Not thread-safe (reuses its scratch).
class Sampler {
 public:
  /// Throws: Error{kInvalidArgument} for an option out of its range.
  explicit Sampler(const SamplingOptions& options);

  /// `logits` [vocab_size]; `history` is the sequence so far (the repeat
  /// penalty looks at its last 64); `position` is the drawn token's.
  int32_t sample(std::span<const float> logits,
                 std::span<const int32_t> history, int64_t position);

 private:
  struct Candidate {
    double logit;
    int32_t id;
  };

  void penalize(std::span<const int32_t> history);
  void keep_top_k();
  void keep_probable();

  SamplingOptions options_;
  std::vector<Candidate> candidates_;
  std::vector<double> probabilities_;
};

}  // namespace carat

#endif  // CARAT_GENERATE_SAMPLER_H_
