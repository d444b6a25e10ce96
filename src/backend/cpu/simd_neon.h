// The vocabulary of 16 lanes for Arm's NEON: four registers. Included by
// kernels_neon_dotprod.cc and kernels_neon_i8mm.cc, which say CARAT_CPU_TARGET
// and are compiled with the dot products (and, for the latter, the mixed-sign
// ones) of their names.
#ifndef CARAT_BACKEND_CPU_SIMD_NEON_H_
#define CARAT_BACKEND_CPU_SIMD_NEON_H_

#include <arm_neon.h>

#include <cstdint>

#define CARAT_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define CARAT_UNROLL _Pragma("unroll")
#else
#define CARAT_UNROLL _Pragma("GCC unroll 16")
#endif

namespace carat::cpu::CARAT_CPU_TARGET {

// Of 32 registers a linear tile takes 16 for int32 sums, 8 for codes and 4 for
// activations while it multiplies; the float chains wait in memory.
inline constexpr int kChunkRows = 4;
inline constexpr bool kUnpacksTiles = false;
inline constexpr int kHalves = 1;
inline constexpr int kChunkVectors = 6;
constexpr int vectors_for(int queries) { return queries <= 2 ? 2 : 1; }

struct F32x16 {
  float32x4_t v[4];
};
struct I32x16 {
  int32x4_t v[4];
};
struct Mask16 {
  uint32x4_t v[4];
};

#define CARAT_EACH CARAT_UNROLL for (int i = 0; i < 4; ++i)

CARAT_INLINE F32x16 broadcast(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {{v, v, v, v}};
}
CARAT_INLINE F32x16 zero() { return broadcast(0.0f); }
CARAT_INLINE I32x16 broadcast(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {{v, v, v, v}};
}
CARAT_INLINE Mask16 lanes_between(int64_t begin, int64_t end) {
  const int low = static_cast<int>(begin < 0 ? 0 : begin > 16 ? 16 : begin);
  const int high = static_cast<int>(end < 0 ? 0 : end > 16 ? 16 : end);
  Mask16 m;
  int32x4_t lane = {0, 1, 2, 3};
  CARAT_EACH {
    m.v[i] = vandq_u32(vcgeq_s32(lane, vdupq_n_s32(low)),
                       vcltq_s32(lane, vdupq_n_s32(high)));
    lane = vaddq_s32(lane, vdupq_n_s32(4));
  }
  return m;
}
CARAT_INLINE F32x16 load(const float* p) {
  return {
      {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
CARAT_INLINE F32x16 load_first(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  alignas(16) float lanes[16] = {};
  for (int64_t j = 0; j < count; ++j) lanes[j] = p[j];
  return load(lanes);
}
CARAT_INLINE void store(float* p, F32x16 x) {
  CARAT_EACH vst1q_f32(p + 4 * i, x.v[i]);
}
CARAT_INLINE void store_first(float* p, F32x16 x, int64_t count) {
  if (count >= 16) return store(p, x);
  alignas(16) float lanes[16];
  store(lanes, x);
  for (int64_t j = 0; j < count; ++j) p[j] = lanes[j];
}
CARAT_INLINE F32x16 load_f16(const uint16_t* p) {
  F32x16 x;
  CARAT_EACH {
    x.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  }
  return x;
}
CARAT_INLINE void store_f16(uint16_t* p, F32x16 x) {
  CARAT_EACH {
    vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
  }
}
CARAT_INLINE I32x16 load_words(const uint8_t* p) {
  I32x16 x;
  CARAT_EACH x.v[i] = vreinterpretq_s32_u8(vld1q_u8(p + 16 * i));
  return x;
}
CARAT_INLINE I32x16 load_u8(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
  const uint16x8_t high = vmovl_high_u8(bytes);
  return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
           vreinterpretq_s32_u32(vmovl_high_u16(low)),
           vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
           vreinterpretq_s32_u32(vmovl_high_u16(high))}};
}
CARAT_INLINE I32x16 load_i8(const uint8_t* p) {
  const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(p));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
  const int16x8_t high = vmovl_high_s8(bytes);
  return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
           vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
}
// Lanes must be in [-128, 127].
CARAT_INLINE void store_i8(int8_t* p, I32x16 x) {
  const int16x8_t low = vmovn_high_s32(vmovn_s32(x.v[0]), x.v[1]);
  const int16x8_t high = vmovn_high_s32(vmovn_s32(x.v[2]), x.v[3]);
  vst1q_s8(p, vmovn_high_s16(vmovn_s16(low), high));
}

CARAT_INLINE F32x16 operator+(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = vaddq_f32(x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 operator-(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = vsubq_f32(x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 operator*(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = vmulq_f32(x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 operator/(F32x16 x, F32x16 y) {
  CARAT_EACH x.v[i] = vdivq_f32(x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  CARAT_EACH z.v[i] = vfmaq_f32(z.v[i], x.v[i], y.v[i]);
  return z;
}
// x < y ? x : y and x > y ? x : y, as on x86: y where either is NaN. Arm's own
// minimum and maximum give NaN, and order the zeros.
CARAT_INLINE F32x16 min(F32x16 x, F32x16 y) {
  CARAT_EACH y.v[i] = vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]);
  return y;
}
CARAT_INLINE float32x4_t larger(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
CARAT_INLINE F32x16 max(F32x16 x, F32x16 y) {
  CARAT_EACH y.v[i] = larger(x.v[i], y.v[i]);
  return y;
}
CARAT_INLINE F32x16 negate(F32x16 x) {
  CARAT_EACH x.v[i] = vnegq_f32(x.v[i]);
  return x;
}
CARAT_INLINE Mask16 less(F32x16 x, F32x16 y) {
  Mask16 m;
  CARAT_EACH m.v[i] = vcltq_f32(x.v[i], y.v[i]);
  return m;
}
CARAT_INLINE Mask16 is_number(F32x16 x) {
  Mask16 m;
  CARAT_EACH m.v[i] = vceqq_f32(x.v[i], x.v[i]);
  return m;
}
CARAT_INLINE F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  CARAT_EACH yes.v[i] = vbslq_f32(m.v[i], yes.v[i], no.v[i]);
  return yes;
}

CARAT_INLINE I32x16 operator+(I32x16 x, I32x16 y) {
  CARAT_EACH x.v[i] = vaddq_s32(x.v[i], y.v[i]);
  return x;
}
CARAT_INLINE I32x16 operator-(I32x16 x, I32x16 y) {
  CARAT_EACH x.v[i] = vsubq_s32(x.v[i], y.v[i]);
  return x;
}
template <int kCount>
CARAT_INLINE I32x16 shift_left(I32x16 x) {
  CARAT_EACH x.v[i] = vshlq_n_s32(x.v[i], kCount);
  return x;
}
CARAT_INLINE I32x16 as_ints(F32x16 x) {
  I32x16 y;
  CARAT_EACH y.v[i] = vreinterpretq_s32_f32(x.v[i]);
  return y;
}
CARAT_INLINE F32x16 as_floats(I32x16 x) {
  F32x16 y;
  CARAT_EACH y.v[i] = vreinterpretq_f32_s32(x.v[i]);
  return y;
}
CARAT_INLINE F32x16 to_float(I32x16 x) {
  F32x16 y;
  CARAT_EACH y.v[i] = vcvtq_f32_s32(x.v[i]);
  return y;
}
// Half to even.
CARAT_INLINE I32x16 round_to_int(F32x16 x) {
  I32x16 y;
  CARAT_EACH y.v[i] = vcvtnq_s32_f32(x.v[i]);
  return y;
}

// The tree: lanes + 8, + 4, + 2, + 1.
CARAT_INLINE float reduce_add(F32x16 x) {
  const float32x4_t a = vaddq_f32(x.v[0], x.v[2]);
  const float32x4_t b = vaddq_f32(x.v[1], x.v[3]);
  const float32x4_t c = vaddq_f32(a, b);
  const float32x2_t d = vadd_f32(vget_low_f32(c), vget_high_f32(c));
  return vpadds_f32(d);
}
CARAT_INLINE float reduce_max(F32x16 x) {
  const float32x4_t a = larger(x.v[0], x.v[2]);
  const float32x4_t b = larger(x.v[1], x.v[3]);
  const float32x4_t c = larger(a, b);
  const float32x4_t d = larger(c, vextq_f32(c, c, 2));
  return vgetq_lane_f32(larger(d, vextq_f32(d, d, 1)), 0);
}
CARAT_INLINE int32_t reduce_add(I32x16 x) {
  return vaddvq_s32(
      vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3])));
}

// 16 outputs x 4 codes.
struct Codes {
  uint8x16_t v[4];
};
CARAT_INLINE Codes load_codes(const uint8_t* p) {
  return {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
}
CARAT_INLINE Codes low_nibbles(Codes c) {
  CARAT_EACH c.v[i] = vandq_u8(c.v[i], vdupq_n_u8(15));
  return c;
}
CARAT_INLINE Codes high_nibbles(Codes c) {
  CARAT_EACH c.v[i] = vshrq_n_u8(c.v[i], 4);
  return c;
}

// low | (high shifted left by kShift, right if negative) & kMask, byte by byte.
template <int kShift, int kMask>
CARAT_INLINE Codes with_high_bits(Codes low, Codes high) {
  CARAT_EACH {
    uint8x16_t bits = high.v[i];
    if constexpr (kShift > 0) bits = vshlq_n_u8(bits, kShift);
    if constexpr (kShift < 0) bits = vshrq_n_u8(bits, -kShift);
    low.v[i] = vorrq_u8(low.v[i], vandq_u8(bits, vdupq_n_u8(kMask)));
  }
  return low;
}

// Four activations in the low half's low word, the rest zero: products take
// them from there for every lane.
struct Quad {
  int8x8_t v;
};
template <int kCodeBits>
CARAT_INLINE Quad load_quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  return {vreinterpret_s8_s32(int32x2_t{x, 0})};
}

// Makes the compiler compute the four here, in this order. Left to itself GCC
// finishes one sum of a group after the other, which takes more registers than
// there are and waits for each product.
CARAT_INLINE void compute_now(int32x4_t (&x)[4]) {
  asm volatile("" : "+w"(x[0]), "+w"(x[1]), "+w"(x[2]), "+w"(x[3]));
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Sums code * activation over at most 32 inputs, exactly.
template <int kCodeBits>
struct DotSum {
  int32x4_t v[4];
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  CARAT_EACH sum.v[i] = vdupq_n_s32(start != nullptr ? *start : 0);
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  CARAT_EACH sum.v[i] = vusdotq_lane_s32(sum.v[i], codes.v[i], x.v, 0);
  compute_now(sum.v);
}
template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum, const int32_t*) {
  return {{sum.v[0], sum.v[1], sum.v[2], sum.v[3]}};
}
#else
// Sums code * activation over at most 32 inputs, exactly. Both factors of a dot
// product have the same sign type here: codes of 8 bits are taken as code - 128
// (their top bit flipped), and -128 * activation is summed beside them.
template <int kCodeBits>
struct DotSum {
  int32x4_t v[4];
  int32x2_t minus_offset;
};
template <int kCodeBits>
CARAT_INLINE void begin_dot(DotSum<kCodeBits>& sum, const int32_t* start) {
  CARAT_EACH sum.v[i] = vdupq_n_s32(start != nullptr ? *start : 0);
  sum.minus_offset = vdup_n_s32(0);
}
template <int kCodeBits>
CARAT_INLINE void add_dot(DotSum<kCodeBits>& sum, Codes codes, Quad x) {
  if constexpr (kCodeBits == 8) {
    CARAT_EACH codes.v[i] = veorq_u8(codes.v[i], vdupq_n_u8(128));
    sum.minus_offset = vdot_s32(sum.minus_offset, x.v, vdup_n_s8(-128));
  }
  CARAT_EACH {
    sum.v[i] =
        vdotq_lane_s32(sum.v[i], vreinterpretq_s8_u8(codes.v[i]), x.v, 0);
  }
  compute_now(sum.v);
}
template <int kCodeBits>
CARAT_INLINE I32x16 end_dot(const DotSum<kCodeBits>& sum, const int32_t*) {
  I32x16 total = {{sum.v[0], sum.v[1], sum.v[2], sum.v[3]}};
  if constexpr (kCodeBits == 8) {
    const int32x4_t offset = vdupq_lane_s32(sum.minus_offset, 0);
    CARAT_EACH total.v[i] = vsubq_s32(total.v[i], offset);
  }
  return total;
}
#endif

#undef CARAT_EACH

}  // namespace carat::cpu::CARAT_CPU_TARGET

#endif  // CARAT_BACKEND_CPU_SIMD_NEON_H_
