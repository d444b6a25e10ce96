// How far one model's next-token distributions are from another's.
#ifndef CARAT_CLI_DISTRIBUTION_COMPARE_H_
#define CARAT_CLI_DISTRIBUTION_COMPARE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace carat::cli {

/// log(sum(exp(logits))), in double.
double log_sum_exp(std::span<const float> logits);

/// KL(reference || other) in nats, both given as logits of the same size.
/// Never below 0.
double kl_divergence(std::span<const float> reference,
                     std::span<const float> other);

/// Of one position.
struct PositionCompare {
  double reference_nll = 0;  ///< of the token that came
  double nll = 0;
  double kl = 0;
  bool same_top = false;  ///< the most likely token is the same
};
PositionCompare compare_position(std::span<const float> reference,
                                 std::span<const float> other, int32_t token);

/// Over all positions.
struct CompareSummary {
  double kl_mean = 0;
  double kl_median = 0;
  double kl_p99 = 0;
  double kl_max = 0;
  double same_top = 0;  ///< share of positions
};
/// `positions` must not be empty. The q-quantile is the value at the rank
/// q * (count - 1), rounded to the nearest.
CompareSummary summarize(std::span<const PositionCompare> positions);

}  // namespace carat::cli

#endif  // CARAT_CLI_DISTRIBUTION_COMPARE_H_
