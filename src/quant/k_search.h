// Scales of K-quants' groups. Four to sixteen groups at a time, one a lane:
// nothing is summed across lanes, so the result is the same whatever the
// machine's vectors are, and the choice among candidates is made in vectors,
// too. Bound by arithmetic: about 200 vector operations for as many numbers as
// there are lanes.
#ifndef CARAT_QUANT_K_SEARCH_H_
#define CARAT_QUANT_K_SEARCH_H_

#include <cmath>
#include <cstring>

// Into each function that is compiled for an instruction set.
#define CARAT_INLINE static inline __attribute__((always_inline))

namespace carat {

template <int kLanes>
struct VectorOf {
  typedef float Type __attribute__((vector_size(kLanes * sizeof(float))));
};

template <class Lanes>
CARAT_INLINE void lower(Lanes& a, const Lanes& b) {
  a = a < b ? a : b;
}
template <class Lanes>
CARAT_INLINE void higher(Lanes& a, const Lanes& b) {
  a = a > b ? a : b;
}

/// Number i of consecutive groups.
template <int kGroup, class Lanes>
CARAT_INLINE void gather(const float* groups, int i, Lanes& out) {
  constexpr int kLanes = sizeof(Lanes) / sizeof(float);
  for (int lane = 0; lane < kLanes; ++lane) {
    out[lane] = groups[lane * kGroup + i];
  }
}

/// Into how many more steps than there are codes the range is divided: `first`,
/// then `steps` more, `width` apart.
struct Candidates {
  float first;
  float width;
  int steps;
};

template <class Lanes>
struct ScaleAndMinimum {
  Lanes scale;
  Lanes bias;  // <= 0
};

/// Of groups of 32: w ~ scale * code + bias, codes from 0 to `most`; the
/// best of `candidates`. Each divides the range into steps; what rounding to
/// codes leaves is then fitted as alpha + beta * code. These numbers are small,
/// so that the errors compared are not differences of large ones.
template <int kLanes>
CARAT_INLINE void search_affine(const float* groups, float most,
                                const Candidates& candidates, float* scales,
                                float* minima) {
  using Lanes = typename VectorOf<kLanes>::Type;
  constexpr int kGroup = 32;
  Lanes x[kGroup], weight[kGroup];
  Lanes lowest = {}, highest, squares = {};
  gather<kGroup>(groups, 0, highest);
  for (int i = 0; i < kGroup; ++i) {
    gather<kGroup>(groups, i, x[i]);
    lower(lowest, x[i]);
    higher(highest, x[i]);
    squares += x[i] * x[i];
  }
  Lanes rms = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    rms[lane] = std::sqrt(squares[lane] / kGroup);
  }
  Lanes sum_w = {};
  for (int i = 0; i < kGroup; ++i) {
    Lanes magnitude = -x[i];
    higher(magnitude, x[i]);
    weight[i] = rms + magnitude;
    sum_w += weight[i];
  }
  const Lanes zero = {};
  const Lanes range = highest - lowest;
  const Lanes inverse = range > 0 ? 1 / range : zero;
  const Lanes top = zero + most;

  ScaleAndMinimum<Lanes> best = {range / most, lowest};
  Lanes best_error = zero + INFINITY;
  for (int step = 0; step <= candidates.steps; ++step) {
    const Lanes factor =
        inverse *
        (most + candidates.first + candidates.width * static_cast<float>(step));
    const Lanes shift = -lowest * factor;
    Lanes sum_l = {}, sum_ll = {}, sum_t = {}, sum_tl = {}, sum_tt = {};
    for (int i = 0; i < kGroup; ++i) {
      constexpr float kRound = 0x1.8p23f;
      const Lanes exact = x[i] * factor + shift;
      Lanes code = (exact + kRound) - kRound;
      lower(code, top);
      const Lanes left = exact - code;
      const Lanes weighted_code = weight[i] * code;
      const Lanes weighted_left = weight[i] * left;
      sum_l += weighted_code;
      sum_ll += weighted_code * code;
      sum_t += weighted_left;
      sum_tl += weighted_left * code;
      sum_tt += weighted_left * left;
    }
    const Lanes determinant = sum_w * sum_ll - sum_l * sum_l;
    const Lanes free_alpha = (sum_ll * sum_t - sum_l * sum_tl) / determinant;
    const Lanes free_beta = (sum_w * sum_tl - sum_l * sum_t) / determinant;
    // A bias above 0 can't be stored: then it is 0. (Compilers keep to vectors
    // where a comparison is the condition itself.)
    const Lanes alpha = free_alpha > shift ? shift : free_alpha;
    const Lanes beta =
        free_alpha > shift ? (sum_tl - alpha * sum_l) / sum_ll : free_beta;
    const Lanes bias = free_alpha > shift ? zero : lowest + alpha / factor;
    const Lanes scale = determinant > 0 ? (1 + beta) / factor : zero;
    Lanes error = (sum_tt - 2 * alpha * sum_t - 2 * beta * sum_tl +
                   alpha * alpha * sum_w + 2 * alpha * beta * sum_l +
                   beta * beta * sum_ll) /
                  (factor * factor);
    error = scale > 0 ? error : zero + INFINITY;
    best.scale = error < best_error ? scale : best.scale;
    best.bias = error < best_error ? bias : best.bias;
    best_error = error < best_error ? error : best_error;
  }
  const Lanes minimum = -best.bias;
  std::memcpy(scales, &best.scale, sizeof(Lanes));
  std::memcpy(minima, &minimum, sizeof(Lanes));
}

/// Of groups of 16: w ~ scale * code, codes from -32 to 31.
template <int kLanes>
CARAT_INLINE void search_symmetric(const float* groups, float* scales) {
  using Lanes = typename VectorOf<kLanes>::Type;
  constexpr int kGroup = 16;
  Lanes x[kGroup], weight[kGroup], weighted[kGroup];
  Lanes lowest = {}, highest = {};
  for (int i = 0; i < kGroup; ++i) {
    gather<kGroup>(groups, i, x[i]);
    weight[i] = x[i] * x[i];
    weighted[i] = weight[i] * x[i];
    lower(lowest, x[i]);
    higher(highest, x[i]);
  }
  const Lanes zero = {};
  const Lanes extreme = -lowest > highest ? lowest : highest;
  const Lanes inverse = extreme != 0 ? -1 / extreme : zero;
  const Lanes bottom = zero - 32, top = zero + 31;
  Lanes best = zero;
  Lanes best_gain = {};
  constexpr int kSteps = 18;
  for (int step = 0; step <= kSteps; ++step) {
    const Lanes factor =
        inverse * (32.0f + 0.1f * static_cast<float>(step) - 0.9f);
    Lanes sum_ll = {}, sum_xl = {};
    for (int i = 0; i < kGroup; ++i) {
      constexpr float kRound = 0x1.8p23f;
      Lanes code = (x[i] * factor + kRound) - kRound;
      lower(code, top);
      higher(code, bottom);
      sum_ll += weight[i] * code * code;
      sum_xl += weighted[i] * code;
    }
    const Lanes gain = sum_xl * sum_xl / sum_ll;
    best = gain > best_gain ? sum_xl / sum_ll : best;
    best_gain = gain > best_gain ? gain : best_gain;
  }
  std::memcpy(scales, &best, sizeof(Lanes));
}

}  // namespace carat

#endif  // CARAT_QUANT_K_SEARCH_H_
