#include "cli/distribution_compare.h"

#include <algorithm>
#include <cmath>

namespace carat::cli {

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest;
}

double kl_divergence(std::span<const float> reference,
                     std::span<const float> other) {
  const double norm = log_sum_exp(reference);
  const double other_norm = log_sum_exp(other);
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = reference[i] - norm;
    if (log_p < -80) continue;  // less than 1e-34 of it
    sum += std::exp(log_p) * (log_p - (other[i] - other_norm));
  }
  return std::max(0., sum);
}

PositionCompare compare_position(std::span<const float> reference,
                                 std::span<const float> other, int32_t token) {
  const auto top = [](std::span<const float> logits) {
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
  };
  const auto id = static_cast<size_t>(token);
  return {.reference_nll = log_sum_exp(reference) - reference[id],
          .nll = log_sum_exp(other) - other[id],
          .kl = kl_divergence(reference, other),
          .same_top = top(reference) == top(other)};
}

CompareSummary summarize(std::span<const PositionCompare> positions) {
  std::vector<double> kl;
  CompareSummary summary;
  for (const PositionCompare& position : positions) {
    kl.push_back(position.kl);
    summary.kl_mean += position.kl;
    summary.same_top += position.same_top ? 1 : 0;
  }
  const auto count = static_cast<double>(kl.size());
  summary.kl_mean /= count;
  summary.same_top /= count;
  std::ranges::sort(kl);
  const auto quantile = [&](double q) {
    return kl[static_cast<size_t>(std::lround(q * (count - 1)))];
  };
  summary.kl_median = quantile(0.5);
  summary.kl_p99 = quantile(0.99);
  summary.kl_max = kl.back();
  return summary;
}

}  // namespace carat::cli
