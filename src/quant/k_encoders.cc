// Eight groups at a time, one a lane: nothing is summed across lanes, so the
// result is the same whatever the machine's vectors are, and the choice among
// candidates is made in vectors, too.
#include "quant/k_encoders.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "quant/rounding.h"
#include "quant/store_le.h"

namespace carat {
namespace {

constexpr int kValues = 256;
constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

#define CARAT_INLINE static inline __attribute__((always_inline))
// The same code for machines with AVX2; x86-64's base has half its vectors.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CARAT_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CARAT_CLONES
#endif

CARAT_INLINE void lower(Lanes& a, const Lanes& b) { a = a < b ? a : b; }
CARAT_INLINE void higher(Lanes& a, const Lanes& b) { a = a > b ? a : b; }

/// Number i of eight consecutive groups.
template <int kGroup>
CARAT_INLINE void gather(const float* groups, int i, Lanes& out) {
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

struct ScaleAndMinimum {
  Lanes scale;
  Lanes bias;  // <= 0
};

/// Of eight groups of 32: w ~ scale * code + bias, codes from 0 to `most`; the
/// best of `candidates`. Each divides the range into steps; what rounding to
/// codes leaves is then fitted as alpha + beta * code. These numbers are small,
/// so that the errors compared are not differences of large ones.
CARAT_INLINE void search_affine(const float* groups, float most,
                                const Candidates& candidates,
                                ScaleAndMinimum& best) {
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

  best = {range / most, lowest};
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
    Lanes alpha = (sum_ll * sum_t - sum_l * sum_tl) / determinant;
    Lanes beta = (sum_w * sum_tl - sum_l * sum_t) / determinant;
    // A bias above 0 can't be stored: then it is 0.
    const auto above = alpha > shift;
    alpha = above ? shift : alpha;
    beta = above ? (sum_tl - alpha * sum_l) / sum_ll : beta;
    const Lanes error = (sum_tt - 2 * alpha * sum_t - 2 * beta * sum_tl +
                         alpha * alpha * sum_w + 2 * alpha * beta * sum_l +
                         beta * beta * sum_ll) /
                        (factor * factor);
    const Lanes scale = (1 + beta) / factor;
    const auto better = (error < best_error) & (determinant > 0) & (scale > 0);
    best_error = better ? error : best_error;
    best.scale = better ? scale : best.scale;
    best.bias = better ? (above ? zero : lowest + alpha / factor) : best.bias;
  }
}

/// Of eight groups of 16: w ~ scale * code, codes from -32 to 31.
CARAT_INLINE void search_symmetric(const float* groups, Lanes& best) {
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
  best = zero;
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
    const auto better = gain > best_gain;
    best_gain = better ? gain : best_gain;
    best = better ? sum_xl / sum_ll : best;
  }
}

CARAT_INLINE float inverse_of(float x) { return x == 0 ? 0 : 1 / x; }

/// d | dmin | eight six-bit scales and minima in 12 bytes, and all codes.
CARAT_INLINE bool encode_affine_block(const float* values, int most,
                                      const Candidates& candidates,
                                      std::byte* block, uint8_t* codes) {
  constexpr int kGroups = 8;
  constexpr int kGroup = kValues / kGroups;
  float scales[kGroups], minima[kGroups];
  for (int group = 0; group < kGroups; group += kLanes) {
    ScaleAndMinimum found;
    search_affine(values + group * kGroup, static_cast<float>(most), candidates,
                  found);
    for (int lane = 0; lane < kLanes; ++lane) {
      scales[group + lane] = found.scale[lane];
      minima[group + lane] = -found.bias[lane];
    }
  }
  constexpr float kMost = 63;
  const float d =
      store_f16(block, *std::max_element(scales, scales + kGroups) / kMost);
  const float dmin =
      store_f16(block + 2, *std::max_element(minima, minima + kGroups) / kMost);
  if (!std::isfinite(d) || !std::isfinite(dmin)) return false;
  uint8_t packed[12] = {};
  for (int group = 0; group < kGroups; ++group) {
    const uint8_t scale = nearest_code(scales[group] * inverse_of(d), kMost);
    const uint8_t minimum =
        nearest_code(minima[group] * inverse_of(dmin), kMost);
    if (group < 4) {
      packed[group] |= scale;
      packed[group + 4] |= minimum;
    } else {
      packed[group + 4] =
          static_cast<uint8_t>((scale & 0xf) | (minimum & 0xf) << 4);
      packed[group - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
      packed[group] |= static_cast<uint8_t>((minimum >> 4) << 6);
    }
    const float factor = inverse_of(d * static_cast<float>(scale));
    const float shift = dmin * static_cast<float>(minimum) * factor;
    for (int i = group * kGroup; i < (group + 1) * kGroup; ++i) {
      codes[i] =
          nearest_code(values[i] * factor + shift, static_cast<float>(most));
    }
  }
  std::memcpy(block + 4, packed, sizeof(packed));
  return true;
}

/// Each 64 codes are 32 bytes, low nibbles first.
void pack_nibble_runs(const uint8_t* codes, std::byte* out) {
  for (int run = 0; run < kValues; run += 64) {
    for (int i = 0; i < 32; ++i) {
      *out++ = static_cast<std::byte>((codes[run + i] & 0xf) |
                                      (codes[run + 32 + i] & 0xf) << 4);
    }
  }
}

}  // namespace

CARAT_CLONES bool encode_q4_k(const float* values, std::byte* block) {
  uint8_t codes[kValues];
  if (!encode_affine_block(values, 15, {-1.0f, 0.2f, 10}, block, codes))
    return false;
  pack_nibble_runs(codes, block + 16);
  return true;
}

CARAT_CLONES bool encode_q5_k(const float* values, std::byte* block) {
  uint8_t codes[kValues];
  if (!encode_affine_block(values, 31, {-0.5f, 0.1f, 15}, block, codes))
    return false;
  uint8_t fifth[32] = {};
  for (int i = 0; i < kValues; ++i) {
    fifth[i % 32] |= static_cast<uint8_t>((codes[i] >> 4) << (i / 32));
  }
  std::memcpy(block + 16, fifth, sizeof(fifth));
  pack_nibble_runs(codes, block + 48);
  return true;
}

CARAT_CLONES bool encode_q6_k(const float* values, std::byte* block) {
  constexpr int kGroups = 16;
  constexpr int kGroup = kValues / kGroups;
  float scales[kGroups];
  for (int group = 0; group < kGroups; group += kLanes) {
    Lanes found;
    search_symmetric(values + group * kGroup, found);
    for (int lane = 0; lane < kLanes; ++lane) {
      scales[group + lane] = found[lane];
    }
  }
  const float extreme = *std::max_element(
      scales, scales + kGroups,
      [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  // The longer side of the range for the extreme.
  const float d = store_f16(block + 208, extreme / -128);
  if (!std::isfinite(d)) return false;
  uint8_t codes[kValues];
  for (int group = 0; group < kGroups; ++group) {
    const int scale =
        nearest_code(scales[group] * inverse_of(d) + 128, 255) - 128;
    block[192 + group] = static_cast<std::byte>(scale);
    const float factor = inverse_of(d * static_cast<float>(scale));
    for (int i = group * kGroup; i < (group + 1) * kGroup; ++i) {
      codes[i] = nearest_code(values[i] * factor + 32, 63);
    }
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* from = codes + half * 128;
    for (int i = 0; i < 32; ++i) {
      const auto nibbles = [&](int low, int high) {
        return static_cast<std::byte>((from[low + i] & 0xf) |
                                      (from[high + i] & 0xf) << 4);
      };
      block[half * 64 + i] = nibbles(0, 64);
      block[half * 64 + 32 + i] = nibbles(32, 96);
      block[128 + half * 32 + i] = static_cast<std::byte>(
          from[i] >> 4 | (from[32 + i] >> 4) << 2 | (from[64 + i] >> 4) << 4 |
          (from[96 + i] >> 4) << 6);
    }
  }
  return true;
}

}  // namespace carat
