// Four groups at a time, one a lane: nothing is summed across lanes, so the
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
constexpr int kLanes = 4;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

Lanes lower(Lanes a, Lanes b) { return a < b ? a : b; }
Lanes higher(Lanes a, Lanes b) { return a > b ? a : b; }
Lanes splat(float x) { return Lanes{x, x, x, x}; }

/// Number i of four consecutive groups.
template <int kGroup>
Lanes gather(const float* groups, int i) {
  return Lanes{groups[i], groups[kGroup + i], groups[2 * kGroup + i],
               groups[3 * kGroup + i]};
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

/// Of four groups of 32: w ~ scale * code + bias, codes from 0 to `most`; the
/// best of `candidates`.
ScaleAndMinimum search_affine(const float* groups, float most,
                              const Candidates& candidates) {
  constexpr int kGroup = 32;
  Lanes x[kGroup], weight[kGroup], weighted[kGroup];
  Lanes lowest = splat(0), highest = gather<kGroup>(groups, 0);
  Lanes squares = splat(0);
  for (int i = 0; i < kGroup; ++i) {
    x[i] = gather<kGroup>(groups, i);
    lowest = lower(lowest, x[i]);
    highest = higher(highest, x[i]);
    squares += x[i] * x[i];
  }
  Lanes rms;
  for (int lane = 0; lane < kLanes; ++lane) {
    rms[lane] = std::sqrt(squares[lane] / kGroup);
  }
  Lanes sum_w = splat(0), sum_x = splat(0);
  for (int i = 0; i < kGroup; ++i) {
    weight[i] = rms + higher(x[i], -x[i]);
    weighted[i] = weight[i] * x[i];
    sum_w += weight[i];
    sum_x += weighted[i];
  }
  const Lanes range = highest - lowest;
  const Lanes inverse = range > 0 ? 1 / range : splat(0);
  const Lanes top = splat(most);

  ScaleAndMinimum best = {range / most, lowest};
  Lanes best_gain = splat(-INFINITY);
  for (int step = 0; step <= candidates.steps; ++step) {
    // The range is divided into somewhat more or fewer than `most` steps.
    const Lanes factor =
        inverse *
        (most + candidates.first + candidates.width * static_cast<float>(step));
    const Lanes shift = -lowest * factor;
    Lanes sum_l = splat(0), sum_ll = splat(0), sum_xl = splat(0);
    for (int i = 0; i < kGroup; ++i) {
      const Lanes code = lower(round_even(x[i] * factor + shift), top);
      const Lanes weighted_code = weight[i] * code;
      sum_l += weighted_code;
      sum_ll += weighted_code * code;
      sum_xl += weighted[i] * code;
    }
    const Lanes determinant = sum_w * sum_ll - sum_l * sum_l;
    Lanes scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    Lanes bias = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
    const auto above = bias > 0;
    scale = above ? sum_xl / sum_ll : scale;
    bias = above ? splat(0) : bias;
    // By how much this lessens the squared error.
    const Lanes gain = 2 * (scale * sum_xl + bias * sum_x) -
                       scale * scale * sum_ll - 2 * scale * bias * sum_l -
                       bias * bias * sum_w;
    const auto better = (gain > best_gain) & (determinant > 0) & (scale > 0);
    best_gain = better ? gain : best_gain;
    best.scale = better ? scale : best.scale;
    best.bias = better ? bias : best.bias;
  }
  return best;
}

/// Of four groups of 16: w ~ scale * code, codes from -32 to 31.
Lanes search_symmetric(const float* groups) {
  constexpr int kGroup = 16;
  Lanes x[kGroup], weight[kGroup], weighted[kGroup];
  Lanes lowest = splat(0), highest = splat(0);
  for (int i = 0; i < kGroup; ++i) {
    x[i] = gather<kGroup>(groups, i);
    weight[i] = x[i] * x[i];
    weighted[i] = weight[i] * x[i];
    lowest = lower(lowest, x[i]);
    highest = higher(highest, x[i]);
  }
  const Lanes extreme = -lowest > highest ? lowest : highest;
  const Lanes inverse = extreme != 0 ? -1 / extreme : splat(0);
  Lanes best = splat(0), best_gain = splat(0);
  constexpr int kSteps = 18;
  for (int step = 0; step <= kSteps; ++step) {
    const Lanes factor =
        inverse * (32.0f + 0.1f * static_cast<float>(step) - 0.9f);
    Lanes sum_ll = splat(0), sum_xl = splat(0);
    for (int i = 0; i < kGroup; ++i) {
      const Lanes code =
          higher(lower(round_even(x[i] * factor), splat(31)), splat(-32));
      sum_ll += weight[i] * code * code;
      sum_xl += weighted[i] * code;
    }
    const Lanes gain = sum_xl * sum_xl / sum_ll;
    const auto better = gain > best_gain;
    best_gain = better ? gain : best_gain;
    best = better ? sum_xl / sum_ll : best;
  }
  return best;
}

float inverse_of(float x) { return x == 0 ? 0 : 1 / x; }

/// d | dmin | eight six-bit scales and minima in 12 bytes, and all codes.
bool encode_affine_block(const float* values, int most,
                         const Candidates& candidates, std::byte* block,
                         uint8_t* codes) {
  constexpr int kGroups = 8;
  constexpr int kGroup = kValues / kGroups;
  float scales[kGroups], minima[kGroups];
  for (int group = 0; group < kGroups; group += kLanes) {
    const ScaleAndMinimum found = search_affine(
        values + group * kGroup, static_cast<float>(most), candidates);
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

bool encode_q4_k(const float* values, std::byte* block) {
  uint8_t codes[kValues];
  if (!encode_affine_block(values, 15, {-1.0f, 0.2f, 10}, block, codes))
    return false;
  pack_nibble_runs(codes, block + 16);
  return true;
}

bool encode_q5_k(const float* values, std::byte* block) {
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

bool encode_q6_k(const float* values, std::byte* block) {
  constexpr int kGroups = 16;
  constexpr int kGroup = kValues / kGroups;
  float scales[kGroups];
  for (int group = 0; group < kGroups; group += kLanes) {
    const Lanes found = search_symmetric(values + group * kGroup);
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
