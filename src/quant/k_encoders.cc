#include "quant/k_encoders.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/k_search.h"
#include "quant/rounding.h"
#include "quant/store_le.h"

namespace carat {
namespace {

constexpr int kValues = 256;
constexpr uint16_t kNanF16 = 0x7e00;

/// The nearest codes from 0 to `most` of values * factor + shift.
template <int kLanes, int kCount>
CARAT_INLINE void choose_codes(const float* values, float factor, float shift,
                               float most, uint8_t* codes) {
  using Lanes = typename VectorOf<kLanes>::Type;
  const Lanes zero = {};
  const Lanes top = zero + most;
  uint32_t bits[kCount];
  for (int i = 0; i < kCount; i += kLanes) {
    Lanes code;
    std::memcpy(&code, values + i, sizeof(code));
    code = code * factor + shift;
    higher(code, zero);
    lower(code, top);
    code += 0x1.8p23f;  // the integer is then in the lowest bits
    std::memcpy(bits + i, &code, sizeof(code));
  }
  for (int i = 0; i < kCount; ++i) codes[i] = static_cast<uint8_t>(bits[i]);
}

CARAT_INLINE float inverse_of(float x) { return x == 0 ? 0 : 1 / x; }

/// d | dmin | eight six-bit scales and minima in 12 bytes, and all codes. False
/// if a number is too large.
template <int kLanes>
CARAT_INLINE bool pack_affine(const float* values, const float* scales,
                              const float* minima, int most, std::byte* block,
                              uint8_t* codes) {
  constexpr int kGroups = 8;
  constexpr int kGroup = kValues / kGroups;
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
    const int first = group * kGroup;
    choose_codes<kLanes, kGroup>(values + first, factor, shift,
                                 static_cast<float>(most), codes + first);
  }
  std::memcpy(block + 4, packed, sizeof(packed));
  return true;
}

/// Each 64 codes are 32 bytes, low nibbles first.
CARAT_INLINE void pack_nibble_runs(const uint8_t* codes, std::byte* out) {
  for (int run = 0; run < kValues; run += 64) {
    for (int i = 0; i < 32; ++i) {
      out[run / 2 + i] = static_cast<std::byte>(
          (codes[run + i] & 0xf) | (codes[run + 32 + i] & 0xf) << 4);
    }
  }
}

/// A format: kGroup numbers have a scale; search() finds these of `lanes`
/// groups, pack() writes a block and is false if that can't be.
template <int kMost>
struct AffineFormat {
  static constexpr int kGroup = 32;
  static constexpr int kBytes = kMost == 15 ? 144 : 176;
  static constexpr int kScaleOffset = 0;

  template <int kLanes>
  CARAT_INLINE void search(const float* groups, float* scales, float* minima) {
    constexpr Candidates kCandidates =
        kMost == 15 ? Candidates{-1.0f, 0.2f, 10} : Candidates{-0.5f, 0.1f, 15};
    search_affine<kLanes>(groups, kMost, kCandidates, scales, minima);
  }

  template <int kLanes>
  CARAT_INLINE bool pack(const float* values, const float* scales,
                         const float* minima, std::byte* block) {
    uint8_t codes[kValues];
    if (!pack_affine<kLanes>(values, scales, minima, kMost, block, codes))
      return false;
    block += 16;
    if (kMost > 15) {
      uint8_t fifth[32] = {};
      for (int i = 0; i < kValues; ++i) {
        fifth[i % 32] |= static_cast<uint8_t>((codes[i] >> 4) << (i / 32));
      }
      std::memcpy(block, fifth, sizeof(fifth));
      block += sizeof(fifth);
    }
    pack_nibble_runs(codes, block);
    return true;
  }
};

struct SymmetricFormat {
  static constexpr int kGroup = 16;
  static constexpr int kBytes = 210;
  static constexpr int kScaleOffset = 208;

  template <int kLanes>
  CARAT_INLINE void search(const float* groups, float* scales, float*) {
    search_symmetric<kLanes>(groups, scales);
  }

  template <int kLanes>
  CARAT_INLINE bool pack(const float* values, const float* scales, const float*,
                         std::byte* block) {
    constexpr int kGroups = kValues / kGroup;
    const float extreme = *std::max_element(
        scales, scales + kGroups,
        [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    // The longer side of the range for the extreme.
    const float d = store_f16(block + kScaleOffset, extreme / -128);
    if (!std::isfinite(d)) return false;
    uint8_t codes[kValues];
    for (int group = 0; group < kGroups; ++group) {
      const int scale =
          nearest_code(scales[group] * inverse_of(d) + 128, 255) - 128;
      block[192 + group] = static_cast<std::byte>(scale);
      const float factor = inverse_of(d * static_cast<float>(scale));
      const int first = group * kGroup;
      choose_codes<kLanes, kGroup>(values + first, factor, 32, 63,
                                   codes + first);
    }
    for (int half = 0; half < 2; ++half) {
      const uint8_t* from = codes + half * 128;
      for (int i = 0; i < 32; ++i) {
        block[half * 64 + i] =
            static_cast<std::byte>((from[i] & 0xf) | (from[64 + i] & 0xf) << 4);
        block[half * 64 + 32 + i] = static_cast<std::byte>(
            (from[32 + i] & 0xf) | (from[96 + i] & 0xf) << 4);
        block[128 + half * 32 + i] = static_cast<std::byte>(
            from[i] >> 4 | (from[32 + i] >> 4) << 2 | (from[64 + i] >> 4) << 4 |
            (from[96 + i] >> 4) << 6);
      }
    }
    return true;
  }
};

template <class Format, int kLanes>
CARAT_INLINE void encode_some(const float* values, int blocks, std::byte* out) {
  constexpr int kGroups = kValues / Format::kGroup;
  constexpr int kMostBlocks = 2;
  float scales[kMostBlocks * kGroups], minima[kMostBlocks * kGroups];
  for (int group = 0; group < blocks * kGroups; group += kLanes) {
    Format::template search<kLanes>(values + group * Format::kGroup,
                                    scales + group, minima + group);
  }
  for (int i = 0; i < blocks; ++i) {
    const float* block = values + i * kValues;
    if (!all_finite({block, kValues}) ||
        !Format::template pack<kLanes>(block, scales + i * kGroups,
                                       minima + i * kGroups, out)) {
      std::memset(out, 0, Format::kBytes);
      store_le(out + Format::kScaleOffset, kNanF16);
    }
    out += Format::kBytes;
  }
}

template <class Format, int kLanes>
CARAT_INLINE void encode(const float* values, int64_t blocks, std::byte* out) {
  constexpr int kTogether = std::max(1, kLanes * Format::kGroup / kValues);
  int64_t i = 0;
  for (; i + kTogether <= blocks; i += kTogether) {
    encode_some<Format, kLanes>(values + i * kValues, kTogether,
                                out + i * Format::kBytes);
  }
  if (i < blocks) {
    encode_some<Format, 8>(values + i * kValues, 1, out + i * Format::kBytes);
  }
}

using Q4K = AffineFormat<15>;
using Q5K = AffineFormat<31>;
using Q6K = SymmetricFormat;

template <class Format>
void encode_plainly(const float* values, int64_t blocks, std::byte* out) {
  encode<Format, 4>(values, blocks, out);
}

constexpr KEncoders kBaseline = {"baseline", encode_plainly<Q4K>,
                                 encode_plainly<Q5K>, encode_plainly<Q6K>};

#ifdef __x86_64__
#define CARAT_K_ENCODER(NAME, ISA, FORMAT, LANES)                        \
  __attribute__((target(ISA))) void NAME(const float* values, int64_t n, \
                                         std::byte* out) {               \
    encode<FORMAT, LANES>(values, n, out);                               \
  }

CARAT_K_ENCODER(avx2_q4_k, "avx2", Q4K, 8)
CARAT_K_ENCODER(avx2_q5_k, "avx2", Q5K, 8)
CARAT_K_ENCODER(avx2_q6_k, "avx2", Q6K, 8)
constexpr KEncoders kAvx2 = {"avx2", avx2_q4_k, avx2_q5_k, avx2_q6_k};

#define CARAT_AVX512 "avx512f,avx512bw,avx512dq,avx512vl"
CARAT_K_ENCODER(avx512_q4_k, CARAT_AVX512, Q4K, 16)
CARAT_K_ENCODER(avx512_q5_k, CARAT_AVX512, Q5K, 16)
CARAT_K_ENCODER(avx512_q6_k, CARAT_AVX512, Q6K, 16)
constexpr KEncoders kAvx512 = {"avx512", avx512_q4_k, avx512_q5_k, avx512_q6_k};

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

std::vector<KEncoders> find_encoders() {
  std::vector<KEncoders> found;
#ifdef __x86_64__
  if (has_avx512()) found.push_back(kAvx512);
  if (__builtin_cpu_supports("avx2")) found.push_back(kAvx2);
#endif
  found.push_back(kBaseline);
  return found;
}

}  // namespace

std::span<const KEncoders> k_encoders() {
  static const std::vector<KEncoders> found = find_encoders();
  return found;
}

}  // namespace carat
