// The vocabulary of 16 lanes for AVX-512 (F, BW, VL, DQ, VNNI): one register.
// Only for kernels_avx512.cc.
#ifndef CARAT_BACKEND_CPU_SIMD_AVX512_H_
#define CARAT_BACKEND_CPU_SIMD_AVX512_H_

#include <immintrin.h>

#include <cstdint>

#define CARAT_CPU_TARGET avx512
#define CARAT_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define CARAT_UNROLL _Pragma("unroll")
#else
#define CARAT_UNROLL _Pragma("GCC unroll 16")
#endif

namespace carat::cpu::avx512 {

// Register tiles: rows x tile halves of a linear kernel, query vectors x
// vectors of keys (or values) of attention.
inline constexpr int kChunkRows = 6;
inline constexpr bool kUnpacksTiles = true;
inline constexpr int kHalves = 2;
inline constexpr int kChunkVectors = 6;
constexpr int vectors_for(int) { return 4; }

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
struct Mask16 {
  __mmask16 v;
};

CARAT_INLINE F32x16 zero() { return {_mm512_setzero_ps()}; }
CARAT_INLINE F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
CARAT_INLINE I32x16 broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
CARAT_INLINE Mask16 first_lanes(int64_t count) {
  return {static_cast<__mmask16>(count >= 16 ? 0xffff
                                 : count > 0 ? (1u << count) - 1
                                             : 0)};
}
CARAT_INLINE F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
CARAT_INLINE F32x16 load_first(const float* p, int64_t count) {
  return {_mm512_maskz_loadu_ps(first_lanes(count).v, p)};
}
CARAT_INLINE void store(float* p, F32x16 x) { _mm512_storeu_ps(p, x.v); }
CARAT_INLINE void store_first(float* p, F32x16 x, int64_t count) {
  _mm512_mask_storeu_ps(p, first_lanes(count).v, x.v);
}
CARAT_INLINE F32x16 load_f16(const uint16_t* p) {
  return {
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
CARAT_INLINE void store_f16(uint16_t* p, F32x16 x) {
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(p),
      _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
CARAT_INLINE I32x16 load_words(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
// 16 bytes as integers.
CARAT_INLINE I32x16 load_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
CARAT_INLINE I32x16 load_i8(const uint8_t* p) {
  return {_mm512_cvtepi8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
// Lanes must be in [-128, 127].
CARAT_INLINE void store_i8(int8_t* p, I32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}

CARAT_INLINE F32x16 operator+(F32x16 a, F32x16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 operator-(F32x16 a, F32x16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 operator*(F32x16 a, F32x16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 operator/(F32x16 a, F32x16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
// a < b ? a : b and a > b ? a : b: b where either is NaN.
CARAT_INLINE F32x16 min(F32x16 a, F32x16 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 max(F32x16 a, F32x16 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
CARAT_INLINE F32x16 abs(F32x16 x) { return {_mm512_abs_ps(x.v)}; }
CARAT_INLINE F32x16 negate(F32x16 x) {
  return {_mm512_xor_ps(x.v, _mm512_set1_ps(-0.0f))};
}
CARAT_INLINE Mask16 less(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
CARAT_INLINE Mask16 is_number(F32x16 x) {
  return {_mm512_cmp_ps_mask(x.v, x.v, _CMP_ORD_Q)};
}
// Lanes in [begin, end).
CARAT_INLINE Mask16 lanes_between(int64_t begin, int64_t end) {
  return {static_cast<__mmask16>(first_lanes(end).v & ~first_lanes(begin).v)};
}
CARAT_INLINE F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm512_mask_blend_ps(m.v, no.v, yes.v)};
}

CARAT_INLINE I32x16 operator+(I32x16 a, I32x16 b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
CARAT_INLINE I32x16 operator-(I32x16 a, I32x16 b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
template <int kCount>
CARAT_INLINE I32x16 shift_left(I32x16 x) {
  return {_mm512_slli_epi32(x.v, kCount)};
}
CARAT_INLINE I32x16 as_ints(F32x16 x) { return {_mm512_castps_si512(x.v)}; }
CARAT_INLINE F32x16 as_floats(I32x16 x) { return {_mm512_castsi512_ps(x.v)}; }
CARAT_INLINE F32x16 to_float(I32x16 x) { return {_mm512_cvtepi32_ps(x.v)}; }
// Half to even; lanes must be below 2^22.
CARAT_INLINE I32x16 round_to_int(F32x16 x) { return {_mm512_cvtps_epi32(x.v)}; }

// The tree: lanes + 8, + 4, + 2, + 1.
CARAT_INLINE float reduce_add(F32x16 x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x.v),
                                 _mm512_extractf32x8_ps(x.v, 1));
  const __m128 b =
      _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
CARAT_INLINE float reduce_max(F32x16 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v),
                                 _mm512_extractf32x8_ps(x.v, 1));
  const __m128 b =
      _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
CARAT_INLINE int32_t reduce_add(I32x16 x) {
  const __m256i a = _mm256_add_epi32(_mm512_castsi512_si256(x.v),
                                     _mm512_extracti32x8_epi32(x.v, 1));
  const __m128i b =
      _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_add_epi32(b, _mm_unpackhi_epi64(b, b));
  return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 1)));
}

// 16 outputs x 4 codes.
struct Codes {
  __m512i v;
};
// Four activations, in every lane.
struct Quad {
  __m512i v;
};
CARAT_INLINE Codes load_codes(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
CARAT_INLINE Codes low_nibbles(Codes c) {
  return {_mm512_and_si512(c.v, _mm512_set1_epi8(15))};
}
CARAT_INLINE Codes high_nibbles(Codes c) {
  return {_mm512_and_si512(_mm512_srli_epi16(c.v, 4), _mm512_set1_epi8(15))};
}
// low | (high shifted left by kShift, right if negative) & kMask, byte by byte.
template <int kShift, int kMask>
CARAT_INLINE Codes with_high_bits(Codes low, Codes high) {
  __m512i shifted = high.v;
  if constexpr (kShift > 0) shifted = _mm512_slli_epi16(high.v, kShift);
  if constexpr (kShift < 0) shifted = _mm512_srli_epi16(high.v, -kShift);
  constexpr int kOrAnd = 0xf8;  // a | b & c
  return {_mm512_ternarylogic_epi32(low.v, shifted, _mm512_set1_epi8(kMask),
                                    kOrAnd)};
}
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  return {_mm512_set1_epi32(x)};
}

// Sums code * activation over at most 32 inputs, exactly.
template <int kCodeBits>
struct DotSum {
  __m512i v;
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  sum.v = start != nullptr ? _mm512_set1_epi32(*start) : _mm512_setzero_si512();
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  sum.v = _mm512_dpbusd_epi32(sum.v, codes.v, x.v);
}
// `start` as in begin_dot; each instruction set adds it in one of the two.
template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum, const int32_t*) {
  return {sum.v};
}

}  // namespace carat::cpu::avx512

#endif  // CARAT_BACKEND_CPU_SIMD_AVX512_H_
