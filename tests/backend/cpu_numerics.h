// docs/numerics.md as plain scalar code, written from the page alone: what
// every instruction set of the CPU backend must compute, to the last bit.
#ifndef CARAT_TESTS_BACKEND_CPU_NUMERICS_H_
#define CARAT_TESTS_BACKEND_CPU_NUMERICS_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/float_types.h"
#include "tensor/quantized_matrix.h"

namespace carat::numerics {

using Floats = std::vector<float>;

// --- Sixteen lanes and one tree. ---

inline float tree(const float* lanes) {
  float s[16];
  std::copy(lanes, lanes + 16, s);
  for (int half : {8, 4, 2, 1}) {
    for (int j = 0; j < half; ++j) s[j] += s[j + half];
  }
  return s[0];
}

inline float sum_of_squares(const float* x, int64_t n) {
  float lanes[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    lanes[i % 16] = std::fma(x[i], x[i], lanes[i % 16]);
  }
  return tree(lanes);
}

// --- exp and its relatives. ---

inline float exp(float x) {
  if (x < -87.3f) return 0;
  const float c = std::min(x, 88.7f);
  const float shifted = std::fma(c, 0x1.715476p+0f, 0x1.8p23f);
  const float n = shifted - 0x1.8p23f;
  float r = std::fma(n, -0x1.62e4p-1f, c);
  r = std::fma(n, -0x1.7f7d1cp-20f, r);
  float p = 0x1.6a23dp-10f;
  for (float next :
       {0x1.123a2p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f}) {
    p = std::fma(p, r, next);
  }
  return std::ldexp(std::fma(r * r, p, r) + 1.0f, static_cast<int>(n));
}

inline float tanh(float x) {
  const float c = std::clamp(x, -9.0f, 9.0f);
  return 1.0f - 2.0f / (exp(c + c) + 1.0f);
}

inline float gelu_tanh(float x) {
  const float u = x * std::fma(x * x, -0x1.2444f2p-4f, -0x1.988454p+0f);
  return x / (1.0f + exp(u));
}

inline float silu(float x) { return x / (1.0f + exp(-x)); }

// --- Quantised activations. ---

struct Activations {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t groups = 0;
  std::vector<int> codes;  // [rows, groups * 32]
  Floats scales;           // [rows, groups]

  int code(int64_t row, int64_t k) const {
    return codes[row * groups * 32 + k];
  }
  float value(int64_t row, int64_t k) const {
    return scales[row * groups + k / 32] * static_cast<float>(code(row, k));
  }
};

inline Activations quantize(const Floats& x, int64_t rows, int64_t cols) {
  Activations a;
  a.rows = rows;
  a.cols = cols;
  a.groups = (cols + 31) / 32;
  a.codes.resize(rows * a.groups * 32);
  a.scales.resize(rows * a.groups);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t g = 0; g < a.groups; ++g) {
      const int64_t end = std::min(cols, g * 32 + 32);
      float above = 0, below = 0;
      for (int64_t k = g * 32; k < end; ++k) {
        above = std::max(above, x[t * cols + k]);
        below = std::max(below, -x[t * cols + k]);
      }
      const float extreme = above >= below ? above : -below;
      if (extreme == 0) continue;
      a.scales[t * a.groups + g] = extreme * (-1.0f / 128.0f);
      const float inverse = -128.0f / extreme;
      for (int64_t k = g * 32; k < end; ++k) {
        const float q = std::clamp(x[t * cols + k] * inverse, -128.0f, 127.0f);
        a.codes[t * a.groups * 32 + k] = static_cast<int>(std::nearbyint(q));
      }
    }
  }
  return a;
}

// --- Linear. ---

// Scales and biases as stored: exact with super-blocks, else f16 times the
// row's power of two.
struct StoredRow {
  Floats scales, biases;
  float factor = 1;
};

inline StoredRow stored_row(const QuantizedMatrix& w, int64_t n) {
  const int64_t groups = w.groups();
  StoredRow row;
  float largest = 0;
  for (int64_t g = 0; g < groups; ++g) {
    row.scales.push_back(w.scales[n * groups + g]);
    if (w.layout.has_bias) row.biases.push_back(w.biases[n * groups + g]);
    largest = std::max(largest, std::fabs(row.scales.back()));
    if (w.layout.has_bias) {
      largest = std::max(largest, std::fabs(row.biases.back()));
    }
  }
  if (w.layout.super_block > 0) return row;
  if (largest > 0) {
    row.factor = std::ldexp(1.0f, std::ilogb(largest) - 14);
  }
  for (Floats* values : {&row.scales, &row.biases}) {
    for (float& v : *values) v = f16_to_f32(f32_to_f16(v / row.factor));
  }
  return row;
}

inline float linear(const Activations& x, int64_t t, const QuantizedMatrix& w,
                    int64_t n, const StoredRow& stored) {
  const int step = std::min(32, w.layout.group);
  float acc = 0;
  for (int64_t first = 0; first < x.groups * 32; first += step) {
    const int64_t g = first / w.layout.group;
    if (g >= w.groups()) continue;
    int sum = 0, xsum = 0;
    for (int64_t k = first; k < std::min(first + step, w.cols); ++k) {
      const int code = w.codes[n * w.cols + k];
      sum += (code - w.layout.zero_point) * x.code(t, k);
      xsum += x.code(t, k);
    }
    const float s = x.scales[t * x.groups + first / 32];
    acc = std::fma(static_cast<float>(sum), s * stored.scales[g], acc);
    if (w.layout.has_bias) {
      acc = std::fma(stored.biases[g], s * static_cast<float>(xsum), acc);
    }
  }
  return acc * stored.factor;
}

// [x.rows, w.rows]
inline Floats linear(const Activations& x, const QuantizedMatrix& w) {
  Floats y(x.rows * w.rows);
  for (int64_t n = 0; n < w.rows; ++n) {
    const StoredRow stored = stored_row(w, n);
    for (int64_t t = 0; t < x.rows; ++t) {
      y[t * w.rows + n] = linear(x, t, w, n, stored);
    }
  }
  return y;
}

inline Floats embed(const QuantizedMatrix& w, int64_t n, float scale) {
  const StoredRow stored = stored_row(w, n);
  Floats x;
  for (int64_t k = 0; k < w.cols; ++k) {
    const int64_t g = k / w.layout.group;
    const auto code =
        static_cast<float>(w.codes[n * w.cols + k] - w.layout.zero_point);
    const float value = w.layout.has_bias
                            ? std::fma(stored.scales[g], code, stored.biases[g])
                            : stored.scales[g] * code;
    x.push_back((value * stored.factor) * scale);
  }
  return x;
}

// --- Norms and RoPE. ---

inline float inverse_rms(const float* x, int64_t n, float eps) {
  return 1.0f / std::sqrt(sum_of_squares(x, n) / static_cast<float>(n) + eps);
}

inline Floats rms_norm(const Floats& x, const Floats& weight, float eps) {
  const auto n = static_cast<int64_t>(weight.size());
  Floats y(x.size());
  for (size_t row = 0; row < x.size(); row += weight.size()) {
    const float r = inverse_rms(&x[row], n, eps);
    for (size_t i = 0; i < weight.size(); ++i) {
      y[row + i] = (x[row + i] * r) * weight[i];
    }
  }
  return y;
}

// angles: cosines, then sines.
inline Floats rotate(const Floats& x, const Floats& angles) {
  const size_t half = x.size() / 2;
  Floats y(x.size());
  for (size_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    const float c = angles[i], s = angles[half + i];
    const float bs = b * s, as = a * s;
    y[i] = std::fma(a, c, -bs);
    y[half + i] = std::fma(b, c, as);
  }
  return y;
}

inline float cached(float x) {
  return f16_to_f32(f32_to_f16(std::clamp(x, -65504.0f, 65504.0f)));
}

// --- Attention of one query over keys and values [positions, head_dim]. ---

struct AttentionRule {
  float scale = 1;
  float softcap = 0;
  int64_t window = 0;
};

inline Floats attend(const Floats& query, const Floats& keys,
                     const Floats& values, int64_t position,
                     const AttentionRule& rule) {
  const size_t dim = query.size();
  Floats q = query;
  for (float& x : q) x *= rule.scale;
  const float lowest = -std::numeric_limits<float>::infinity();
  const int64_t begin =
      rule.window > 0 ? std::max<int64_t>(0, position - rule.window + 1) : 0;

  float total_max = 0, total_sum = 0;
  Floats total;
  for (int64_t span = begin / 1024; span * 1024 <= position; ++span) {
    float m = lowest, l = 0;
    Floats o(dim);
    for (int64_t block = span * 16; block < span * 16 + 16; ++block) {
      float s[64];
      float block_max = lowest;
      bool any = false;
      for (int64_t j = 0; j < 64; ++j) {
        const int64_t key = block * 64 + j;
        s[j] = lowest;
        if (key < begin || key > position) continue;
        any = true;
        s[j] = 0;
        for (size_t d = 0; d < dim; ++d) {
          s[j] = std::fma(q[d], keys[key * dim + d], s[j]);
        }
        if (rule.softcap > 0) {
          s[j] = rule.softcap * tanh(s[j] / rule.softcap);
        }
        block_max = std::max(block_max, s[j]);
      }
      if (!any) continue;
      const float next = std::max(m, block_max);
      const float alpha = exp(m - next);
      m = next;
      float p[64], lanes[16];
      for (int j = 0; j < 64; ++j) p[j] = exp(s[j] - m);
      for (int j = 0; j < 16; ++j) {
        lanes[j] = (p[j] + p[16 + j]) + (p[32 + j] + p[48 + j]);
      }
      l = std::fma(l, alpha, tree(lanes));
      for (size_t d = 0; d < dim; ++d) {
        o[d] *= alpha;
        for (int64_t j = 0; j < 64; ++j) {
          const int64_t key = block * 64 + j;
          if (key < begin || key > position) continue;
          o[d] = std::fma(p[j], values[key * dim + d], o[d]);
        }
      }
    }
    if (total.empty()) {
      total = o;
      total_max = m;
      total_sum = l;
      continue;
    }
    const float next = std::max(total_max, m);
    const float a = exp(total_max - next), b = exp(m - next);
    total_max = next;
    total_sum = std::fma(total_sum, a, l * b);
    for (size_t d = 0; d < dim; ++d) {
      total[d] = std::fma(total[d], a, o[d] * b);
    }
  }
  for (float& x : total) x *= 1.0f / total_sum;
  return total;
}

}  // namespace carat::numerics

#endif  // CARAT_TESTS_BACKEND_CPU_NUMERICS_H_
