// The vocabulary of 16 lanes for AVX2, FMA and F16C: two registers.
// Only for kernels_avx2.cc and, with CARAT_CPU_DPBUSD naming the intrinsic of
// VNNI's dot product on 256 bits, kernels_vnni256_*.cc.
#ifndef CARAT_BACKEND_CPU_SIMD_AVX2_H_
#define CARAT_BACKEND_CPU_SIMD_AVX2_H_

#include <immintrin.h>

#include <cstdint>

#if !defined(CARAT_CPU_TARGET)
#define CARAT_CPU_TARGET avx2
#endif
#define CARAT_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define CARAT_UNROLL _Pragma("unroll")
#else
#define CARAT_UNROLL _Pragma("GCC unroll 16")
#endif

namespace carat::cpu::CARAT_CPU_TARGET {

inline constexpr int kChunkRows = 4;
inline constexpr bool kUnpacksTiles = false;
inline constexpr int kHalves = 1;
inline constexpr int kChunkVectors = 6;
constexpr int vectors_for(int queries) { return queries <= 2 ? 2 : 1; }

struct F32x16 {
  __m256 a, b;
};
struct I32x16 {
  __m256i a, b;
};
struct Mask16 {
  __m256 a, b;
};

CARAT_INLINE F32x16 zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
CARAT_INLINE F32x16 broadcast(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
CARAT_INLINE I32x16 broadcast(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
CARAT_INLINE Mask16 lanes_between(int64_t begin, int64_t end) {
  const int low = static_cast<int>(begin < 0 ? 0 : begin > 16 ? 16 : begin);
  const int high = static_cast<int>(end < 0 ? 0 : end > 16 ? 16 : end);
  const __m256i lane_a = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i lane_b = _mm256_add_epi32(lane_a, _mm256_set1_epi32(8));
  const __m256i l = _mm256_set1_epi32(low - 1);
  const __m256i h = _mm256_set1_epi32(high);
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(lane_a, l),
                                               _mm256_cmpgt_epi32(h, lane_a))),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(lane_b, l),
                                               _mm256_cmpgt_epi32(h, lane_b)))};
}
CARAT_INLINE Mask16 first_lanes(int64_t count) {
  return lanes_between(0, count);
}
CARAT_INLINE F32x16 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
CARAT_INLINE F32x16 load_first(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  const Mask16 m = first_lanes(count);
  return {_mm256_maskload_ps(p, _mm256_castps_si256(m.a)),
          _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b))};
}
CARAT_INLINE void store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
CARAT_INLINE void store_first(float* p, F32x16 x, int64_t count) {
  if (count >= 16) return store(p, x);
  const Mask16 m = first_lanes(count);
  _mm256_maskstore_ps(p, _mm256_castps_si256(m.a), x.a);
  _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), x.b);
}
CARAT_INLINE F32x16 load_f16(const uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)),
          _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
CARAT_INLINE void store_f16(uint16_t* p, F32x16 x) {
  auto* q = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
CARAT_INLINE I32x16 load_words(const uint8_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
CARAT_INLINE I32x16 load_u8(const uint8_t* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))};
}
CARAT_INLINE I32x16 load_i8(const uint8_t* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
}
CARAT_INLINE void store_i8(int8_t* p, I32x16 x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b),
                                                 _MM_SHUFFLE(3, 1, 2, 0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(words),
                                   _mm256_extracti128_si256(words, 1)));
}

CARAT_INLINE F32x16 operator+(F32x16 x, F32x16 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 operator-(F32x16 x, F32x16 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 operator*(F32x16 x, F32x16 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 operator/(F32x16 x, F32x16 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
CARAT_INLINE F32x16 min(F32x16 x, F32x16 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 max(F32x16 x, F32x16 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
CARAT_INLINE F32x16 abs(F32x16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
CARAT_INLINE F32x16 negate(F32x16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(sign, x.a), _mm256_xor_ps(sign, x.b)};
}
CARAT_INLINE Mask16 less(F32x16 x, F32x16 y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ),
          _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}
CARAT_INLINE Mask16 is_number(F32x16 x) {
  return {_mm256_cmp_ps(x.a, x.a, _CMP_ORD_Q),
          _mm256_cmp_ps(x.b, x.b, _CMP_ORD_Q)};
}
CARAT_INLINE F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm256_blendv_ps(no.a, yes.a, m.a),
          _mm256_blendv_ps(no.b, yes.b, m.b)};
}

CARAT_INLINE I32x16 operator+(I32x16 x, I32x16 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
CARAT_INLINE I32x16 operator-(I32x16 x, I32x16 y) {
  return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
template <int kCount>
CARAT_INLINE I32x16 shift_left(I32x16 x) {
  return {_mm256_slli_epi32(x.a, kCount), _mm256_slli_epi32(x.b, kCount)};
}
CARAT_INLINE I32x16 as_ints(F32x16 x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
CARAT_INLINE F32x16 as_floats(I32x16 x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
CARAT_INLINE F32x16 to_float(I32x16 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
CARAT_INLINE I32x16 round_to_int(F32x16 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}

CARAT_INLINE float reduce_add(F32x16 x) {
  const __m256 a = _mm256_add_ps(x.a, x.b);
  const __m128 b =
      _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
CARAT_INLINE float reduce_max(F32x16 x) {
  const __m256 a = _mm256_max_ps(x.a, x.b);
  const __m128 b =
      _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
CARAT_INLINE int32_t reduce_add(I32x16 x) {
  const __m256i a = _mm256_add_epi32(x.a, x.b);
  const __m128i b =
      _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_add_epi32(b, _mm_unpackhi_epi64(b, b));
  return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 1)));
}

struct Codes {
  __m256i a, b;
};
CARAT_INLINE Codes load_codes(const uint8_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
CARAT_INLINE Codes low_nibbles(Codes c) {
  const __m256i m = _mm256_set1_epi8(15);
  return {_mm256_and_si256(c.a, m), _mm256_and_si256(c.b, m)};
}
CARAT_INLINE Codes high_nibbles(Codes c) {
  return low_nibbles({_mm256_srli_epi16(c.a, 4), _mm256_srli_epi16(c.b, 4)});
}
// low | (high shifted left by kShift, right if negative) & kMask, byte by byte.
template <int kShift, int kMask>
CARAT_INLINE Codes with_high_bits(Codes low, Codes high) {
  const __m256i mask = _mm256_set1_epi8(kMask);
  const auto merge = [&](__m256i to, __m256i from) {
    if constexpr (kShift > 0) from = _mm256_slli_epi16(from, kShift);
    if constexpr (kShift < 0) from = _mm256_srli_epi16(from, -kShift);
    return _mm256_or_si256(to, _mm256_and_si256(from, mask));
  };
  return {merge(low.a, high.a), merge(low.b, high.b)};
}

#if defined(CARAT_CPU_DPBUSD)
struct Quad {
  __m256i v;
};
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  return {_mm256_set1_epi32(x)};
}

// Sums code * activation over at most 32 inputs, exactly.
template <int kCodeBits>
struct DotSum {
  __m256i a, b;
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  sum.a = sum.b = _mm256_set1_epi32(start != nullptr ? *start : 0);
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  sum.a = CARAT_CPU_DPBUSD(sum.a, codes.a, x.v);
  sum.b = CARAT_CPU_DPBUSD(sum.b, codes.b, x.v);
}
template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum, const int32_t*) {
  return {sum.a, sum.b};
}
#else
// Bytes for vpmaddubsw; for 8-bit codes, whose pairs would overflow its 16
// bits, words: activations 0 and 2, and 1 and 3.
struct Quad {
  __m256i even, odd;
};
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  const __m256i bytes = _mm256_set1_epi32(x);
  if constexpr (kCodeBits == 8) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8),
            _mm256_srai_epi16(bytes, 8)};
  } else {
    return {bytes, bytes};
  }
}

// 4 bits: the sums of a whole group fit 16 bits (32 / 2 * 15 * 128 = 30720).
template <int kCodeBits>
struct DotSum {
  __m256i a, b;
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  if (kCodeBits == 4 || start == nullptr) {
    sum.a = sum.b = _mm256_setzero_si256();
  } else {
    sum.a = sum.b = _mm256_set1_epi32(*start);
  }
}
// Makes the compiler compute `x` here. Left to itself GCC first forms all
// products of a group, which takes more registers than there are.
CARAT_INLINE void compute_now(__m256i& x) { asm("" : "+x"(x)); }

template <int kCodeBits>
CARAT_INLINE void add_dot(__m256i& sum, __m256i codes, Quad x) {
  if constexpr (kCodeBits == 4) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x.even));
  } else if constexpr (kCodeBits == 7) {
    const __m256i pairs = _mm256_maddubs_epi16(codes, x.even);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  } else {
    const __m256i even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
    const __m256i odd = _mm256_srli_epi16(codes, 8);
    sum =
        _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(even, x.even),
                                               _mm256_madd_epi16(odd, x.odd)));
  }
  compute_now(sum);
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes c, Quad x) {
  add_dot<kCodeBits>(sum.a, c.a, x);
  add_dot<kCodeBits>(sum.b, c.b, x);
}
template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum,
                            const int32_t* start) {
  if constexpr (kCodeBits == 4) {
    const __m256i ones = _mm256_set1_epi16(1);
    I32x16 total = {_mm256_madd_epi16(sum.a, ones),
                    _mm256_madd_epi16(sum.b, ones)};
    if (start != nullptr) total = total + broadcast(*start);
    return total;
  } else {
    return {sum.a, sum.b};
  }
}
#endif

}  // namespace carat::cpu::CARAT_CPU_TARGET

#endif  // CARAT_BACKEND_CPU_SIMD_AVX2_H_
