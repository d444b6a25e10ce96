// exp and the functions made of it, and the activations. Included by each
// kernels_<target>.cc after its simd header; every target gives the same bits.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// e^x = 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2. e^r is
// 1 + r + r^2 * p(r), p the polynomial of degree 4 with the smallest relative
// error of the whole (3.1e-9). Below -87.3 the result is 0, so it is never
// subnormal; above 88.7 it is that of 88.7, so it is never infinite.
CARAT_INLINE F32x16 exp(F32x16 x) {
  const F32x16 lowest = broadcast(-87.3f);
  // NaN stays NaN: min and max return their second operand.
  const F32x16 clamped = max(lowest, min(broadcast(88.7f), x));
  const F32x16 shifter = broadcast(0x1.8p23f);
  const F32x16 shifted = fma(clamped, broadcast(0x1.715476p+0f), shifter);
  const F32x16 n = shifted - shifter;
  F32x16 r = fma(n, broadcast(-0x1.62e4p-1f), clamped);
  r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
  F32x16 p = broadcast(0x1.6a23dp-10f);
  p = fma(p, r, broadcast(0x1.123a2p-7f));
  p = fma(p, r, broadcast(0x1.5558f2p-5f));
  p = fma(p, r, broadcast(0x1.555492p-3f));
  p = fma(p, r, broadcast(0x1.fffffcp-2f));
  const F32x16 result = fma(r * r, p, r) + broadcast(1.0f);
  // The low bits of `shifted` are n.
  const I32x16 exponent = shift_left<23>(as_ints(shifted));
  const F32x16 scaled = as_floats(as_ints(result) + exponent);
  return select(less(x, lowest), zero(), scaled);
}

CARAT_INLINE F32x16 tanh(F32x16 x) {
  const F32x16 one = broadcast(1.0f);
  const F32x16 limit = broadcast(9.0f);
  const F32x16 clamped = max(negate(limit), min(limit, x));
  return one - broadcast(2.0f) / (exp(clamped + clamped) + one);
}

// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
CARAT_INLINE F32x16 gelu_tanh(F32x16 x) {
  const F32x16 minus_2u =
      x * fma(x * x, broadcast(-0x1.2444f2p-4f), broadcast(-0x1.988454p+0f));
  return x / (broadcast(1.0f) + exp(minus_2u));
}

CARAT_INLINE F32x16 silu(F32x16 x) {
  return x / (broadcast(1.0f) + exp(negate(x)));
}

void evaluate(MathFunction function, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const F32x16 v = load_first(x + i, count - i);
    F32x16 result = zero();
    switch (function) {
      case MathFunction::kExp:
        result = exp(v);
        break;
      case MathFunction::kTanh:
        result = tanh(v);
        break;
      case MathFunction::kGeluTanh:
        result = gelu_tanh(v);
        break;
      case MathFunction::kSilu:
        result = silu(v);
        break;
    }
    store_first(y + i, result, count - i);
  }
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
