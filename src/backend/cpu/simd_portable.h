// The vocabulary of 16 lanes for any compiler with vector extensions: four
// registers of 4 lanes. Where the target has no fused multiply-add, fma() gets
// its one rounding from double arithmetic. Only for kernels_portable.cc.
#ifndef CARAT_BACKEND_CPU_SIMD_PORTABLE_H_
#define CARAT_BACKEND_CPU_SIMD_PORTABLE_H_

#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define CARAT_CPU_TARGET portable
#define CARAT_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define CARAT_UNROLL _Pragma("unroll")
#else
#define CARAT_UNROLL _Pragma("GCC unroll 16")
#endif

namespace carat::cpu::portable {

inline constexpr int kChunkRows = 2;
inline constexpr bool kUnpacksTiles = false;
inline constexpr int kHalves = 1;
inline constexpr int kChunkVectors = 2;
constexpr int vectors_for(int) { return 1; }

typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));
typedef uint32_t Uint4 __attribute__((vector_size(16)));

struct F32x16 {
  Float4 v[4];
};
struct I32x16 {
  Uint4 v[4];  // unsigned: wraps
};
struct Mask16 {
  Int4 v[4];
};

#define CARAT_EACH for (int i = 0; i < 4; ++i)

CARAT_INLINE F32x16 broadcast(float x) {
  const Float4 v = {x, x, x, x};
  return {{v, v, v, v}};
}
CARAT_INLINE F32x16 zero() { return broadcast(0.0f); }
CARAT_INLINE I32x16 broadcast(int32_t x) {
  const auto u = static_cast<uint32_t>(x);
  const Uint4 v = {u, u, u, u};
  return {{v, v, v, v}};
}
CARAT_INLINE Mask16 lanes_between(int64_t begin, int64_t end) {
  const int low = static_cast<int>(begin < 0 ? 0 : begin > 16 ? 16 : begin);
  const int high = static_cast<int>(end < 0 ? 0 : end > 16 ? 16 : end);
  Mask16 m;
  Int4 lane = {0, 1, 2, 3};
  CARAT_EACH {
    m.v[i] = (lane >= low) & (lane < high);
    lane += 4;
  }
  return m;
}
CARAT_INLINE Mask16 first_lanes(int64_t count) {
  return lanes_between(0, count);
}
CARAT_INLINE F32x16 load(const float* p) {
  F32x16 x;
  CARAT_EACH __builtin_memcpy(&x.v[i], p + 4 * i, 16);
  return x;
}
CARAT_INLINE F32x16 load_first(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  alignas(16) float lanes[16] = {};
  for (int64_t j = 0; j < count; ++j) lanes[j] = p[j];
  return load(lanes);
}
CARAT_INLINE void store(float* p, F32x16 x) {
  CARAT_EACH __builtin_memcpy(p + 4 * i, &x.v[i], 16);
}
CARAT_INLINE void store_first(float* p, F32x16 x, int64_t count) {
  if (count >= 16) return store(p, x);
  alignas(16) float lanes[16];
  store(lanes, x);
  for (int64_t j = 0; j < count; ++j) p[j] = lanes[j];
}

CARAT_INLINE F32x16 operator+(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] += y.v[i];
  return x;
}
CARAT_INLINE F32x16 operator-(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] -= y.v[i];
  return x;
}
CARAT_INLINE F32x16 operator*(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] *= y.v[i];
  return x;
}
CARAT_INLINE F32x16 operator/(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] /= y.v[i];
  return x;
}
CARAT_INLINE Float4 choose(Int4 m, Float4 yes, Float4 no) {
  return (Float4)((m & (Int4)yes) | (~m & (Int4)no));
}
CARAT_INLINE F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  CARAT_EACH yes.v[i] = choose(m.v[i], yes.v[i], no.v[i]);
  return yes;
}
CARAT_INLINE F32x16 min(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = choose(x.v[i] < y.v[i], x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 max(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = choose(x.v[i] > y.v[i], x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 abs(F32x16 x) {
  CARAT_EACH x.v[i] = (Float4)((Int4)x.v[i] & 0x7fffffff);
  return x;
}
CARAT_INLINE F32x16 negate(F32x16 x) {
  CARAT_EACH x.v[i] = (Float4)((Uint4)x.v[i] ^ 0x80000000u);
  return x;
}
CARAT_INLINE Mask16 less(F32x16 x, F32x16 y) {
  Mask16 m;
  CARAT_EACH m.v[i] = x.v[i] < y.v[i];
  return m;
}
CARAT_INLINE Mask16 is_number(F32x16 x) {
  Mask16 m;
  CARAT_EACH m.v[i] = x.v[i] == x.v[i];
  return m;
}

CARAT_INLINE I32x16 operator+(I32x16 x, I32x16 y) {
  CARAT_EACH x.v[i] += y.v[i];
  return x;
}
CARAT_INLINE I32x16 operator-(I32x16 x, I32x16 y) {
  CARAT_EACH x.v[i] -= y.v[i];
  return x;
}
template <int kCount>
CARAT_INLINE I32x16 shift_left(I32x16 x) {
  CARAT_EACH x.v[i] <<= kCount;
  return x;
}
CARAT_INLINE I32x16 as_ints(F32x16 x) {
  I32x16 y;
  CARAT_EACH y.v[i] = (Uint4)x.v[i];
  return y;
}
CARAT_INLINE F32x16 as_floats(I32x16 x) {
  F32x16 y;
  CARAT_EACH y.v[i] = (Float4)x.v[i];
  return y;
}
CARAT_INLINE F32x16 to_float(I32x16 x) {
  F32x16 y;
  CARAT_EACH y.v[i] = __builtin_convertvector((Int4)x.v[i], Float4);
  return y;
}
// Half to even, by the rounding of an addition whose unit is 1.
CARAT_INLINE I32x16 round_to_int(F32x16 x) {
  I32x16 y;
  CARAT_EACH {
    const Float4 shifted = x.v[i] + 0x1.8p23f;
    y.v[i] = (Uint4)shifted - 0x4b400000u;
  }
  return y;
}

CARAT_INLINE I32x16 load_words(const uint8_t* p) {
  I32x16 x;
  CARAT_EACH __builtin_memcpy(&x.v[i], p + 16 * i, 16);
  return x;
}
CARAT_INLINE I32x16 load_u8(const uint8_t* p) {
  I32x16 y;
  CARAT_EACH y.v[i] = Uint4{p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
  return y;
}
CARAT_INLINE I32x16 load_i8(const uint8_t* p) {
  const auto at = [p](int i) {
    return static_cast<uint32_t>(static_cast<int8_t>(p[i]));
  };
  I32x16 y;
  CARAT_EACH y.v[i] =
      Uint4{at(4 * i), at(4 * i + 1), at(4 * i + 2), at(4 * i + 3)};
  return y;
}
CARAT_INLINE void store_i8(int8_t* p, I32x16 x) {
  int32_t lanes[16];
  __builtin_memcpy(lanes, &x, sizeof(lanes));
  for (int j = 0; j < 16; ++j) p[j] = static_cast<int8_t>(lanes[j]);
}
// Finite numbers only. Moving the exponent by a multiplication handles normal
// and subnormal numbers alike.
CARAT_INLINE F32x16 load_f16(const uint16_t* p) {
  F32x16 x;
  CARAT_EACH {
    const Uint4 h = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
    const Float4 magnitude = (Float4)((h & 0x7fffu) << 13) * 0x1p112f;
    x.v[i] = (Float4)((Uint4)magnitude | (h & 0x8000u) << 16);
  }
  return x;
}
// Lanes must be within +-65504.
CARAT_INLINE void store_f16(uint16_t* p, F32x16 x) {
  CARAT_EACH {
    const Uint4 bits = (Uint4)x.v[i];
    const Uint4 magnitude = bits & 0x7fffffffu;
    const Uint4 normal =
        (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
    // Adding 0.5 aligns the units of subnormal numbers with the last bits.
    const Uint4 subnormal = (Uint4)((Float4)magnitude + 0.5f) - 0x3f000000u;
    const Uint4 small = (Uint4)((Int4)magnitude < 0x38800000);
    const Uint4 h =
        (small & subnormal) | (~small & normal) | ((bits >> 16) & 0x8000u);
    for (int j = 0; j < 4; ++j) p[4 * i + j] = static_cast<uint16_t>(h[j]);
  }
}

CARAT_INLINE Float4 each_fma(Float4 x, Float4 y, Float4 z) {
  for (int j = 0; j < 4; ++j) z[j] = __builtin_fmaf(x[j], y[j], z[j]);
  return z;
}

#if defined(__SSE2__) && !defined(__FMA__)
static __attribute__((noinline)) void exact_fma(const F32x16& x,
                                                const F32x16& y, F32x16& z) {
  CARAT_EACH z.v[i] = each_fma(x.v[i], y.v[i], z.v[i]);
}

// The product of two floats is exact in double, and rounding the double sum to
// float a second time only matters where that sum lies exactly between two
// floats, or below the normal floats, where they lie elsewhere.
CARAT_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  const __m128i low_mask = _mm_set1_epi32(0x1fffffff);
  const __m128i half = _mm_set1_epi32(0x10000000);
  const __m128i smallest = _mm_set1_epi32(0x38100000);  // high word of 2^-126
  const __m128i high_mask = _mm_set1_epi32(0x7fffffff);
  __m128i doubtful = _mm_setzero_si128();
  F32x16 result;
  CARAT_EACH {
    const __m128 a = x.v[i], b = y.v[i], c = z.v[i];
    const __m128d low = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)),
                                   _mm_cvtps_pd(c));
    const __m128d high =
        _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)),
                              _mm_cvtps_pd(_mm_movehl_ps(b, b))),
                   _mm_cvtps_pd(_mm_movehl_ps(c, c)));
    result.v[i] = _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
    const __m128 l = _mm_castpd_ps(low), h = _mm_castpd_ps(high);
    const __m128i low_words =
        _mm_castps_si128(_mm_shuffle_ps(l, h, _MM_SHUFFLE(2, 0, 2, 0)));
    const __m128i high_words = _mm_and_si128(
        _mm_castps_si128(_mm_shuffle_ps(l, h, _MM_SHUFFLE(3, 1, 3, 1))),
        high_mask);
    const __m128i between =
        _mm_cmpeq_epi32(_mm_and_si128(low_words, low_mask), half);
    const __m128i tiny =
        _mm_andnot_si128(_mm_cmpeq_epi32(high_words, _mm_setzero_si128()),
                         _mm_cmpgt_epi32(smallest, high_words));
    doubtful = _mm_or_si128(doubtful, _mm_or_si128(between, tiny));
  }
  if (__builtin_expect(_mm_movemask_epi8(doubtful) != 0, 0)) {
    exact_fma(x, y, z);
    return z;
  }
  return result;
}
#else
CARAT_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  CARAT_EACH z.v[i] = each_fma(x.v[i], y.v[i], z.v[i]);
  return z;
}
#endif

CARAT_INLINE float reduce_add(F32x16 x) {
  const Float4 a = x.v[0] + x.v[2];
  const Float4 b = x.v[1] + x.v[3];
  const Float4 c = a + b;
  return (c[0] + c[2]) + (c[1] + c[3]);
}
CARAT_INLINE float larger(float a, float b) { return a > b ? a : b; }
CARAT_INLINE float reduce_max(F32x16 x) {
  const Float4 a = choose(x.v[0] > x.v[2], x.v[0], x.v[2]);
  const Float4 b = choose(x.v[1] > x.v[3], x.v[1], x.v[3]);
  const Float4 c = choose(a > b, a, b);
  return larger(larger(c[0], c[2]), larger(c[1], c[3]));
}
CARAT_INLINE int32_t reduce_add(I32x16 x) {
  const Uint4 s = (x.v[0] + x.v[1]) + (x.v[2] + x.v[3]);
  return static_cast<int32_t>((s[0] + s[1]) + (s[2] + s[3]));
}

struct Codes {
  Uint4 v[4];
};
CARAT_INLINE Codes load_codes(const uint8_t* p) {
  Codes c;
  CARAT_EACH __builtin_memcpy(&c.v[i], p + 16 * i, 16);
  return c;
}
CARAT_INLINE Codes low_nibbles(Codes c) {
  CARAT_EACH c.v[i] &= 0x0f0f0f0fu;
  return c;
}
CARAT_INLINE Codes high_nibbles(Codes c) {
  CARAT_EACH c.v[i] = (c.v[i] >> 4) & 0x0f0f0f0fu;
  return c;
}
// low | (high shifted left by kShift, right if negative) & kMask, byte by byte.
template <int kShift, int kMask>
CARAT_INLINE Codes with_high_bits(Codes low, Codes high) {
  constexpr uint32_t kMasks = 0x01010101u * kMask;
  CARAT_EACH {
    if constexpr (kShift >= 0) {
      low.v[i] |= (high.v[i] << kShift) & kMasks;
    } else {
      low.v[i] |= (high.v[i] >> -kShift) & kMasks;
    }
  }
  return low;
}

template <int kCodeBits>
struct DotSum {
  I32x16 v;
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  sum.v = broadcast(start != nullptr ? *start : 0);
}

#if defined(__SSE2__)
// Words, for pmaddwd: activations 0 and 2, and 1 and 3.
struct Quad {
  __m128i even, odd;
};
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  const __m128i bytes = _mm_set1_epi32(x);
  return {_mm_srai_epi16(_mm_slli_epi16(bytes, 8), 8),
          _mm_srai_epi16(bytes, 8)};
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  CARAT_EACH {
    const auto c = (__m128i)codes.v[i];
    const __m128i even =
        _mm_madd_epi16(_mm_and_si128(c, _mm_set1_epi16(255)), x.even);
    const __m128i odd = _mm_madd_epi16(_mm_srli_epi16(c, 8), x.odd);
    sum.v.v[i] += (Uint4)_mm_add_epi32(even, odd);
  }
}
#else
struct Quad {
  int8_t x[4];
};
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  return {{p[0], p[1], p[2], p[3]}};
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  CARAT_EACH {
    for (int j = 0; j < 4; ++j) {
      const Uint4 code = (codes.v[i] >> (8 * j)) & 255u;
      sum.v.v[i] += code * static_cast<uint32_t>(int32_t{x.x[j]});
    }
  }
}
#endif

template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum, const int32_t*) {
  return sum.v;
}

#undef CARAT_EACH

}  // namespace carat::cpu::portable

#endif  // CARAT_BACKEND_CPU_SIMD_PORTABLE_H_
