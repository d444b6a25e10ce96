// A dot product with one order: 16 lanes, then one tree.
#ifndef CARAT_BACKEND_REFERENCE_DOT_H_
#define CARAT_BACKEND_REFERENCE_DOT_H_

#include <cstdint>

namespace carat::reference {

/// sum a[i] * b[i] over [0, count). Lane j takes the elements 16 i + j in
/// ascending i; the loop over lanes is what compilers turn into vectors.
inline float dot(const float* a, const float* b, int64_t count) {
  constexpr int kLanes = 16;
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] += a[i + j] * b[i + j];
  }
  for (int j = 0; i + j < count; ++j) lanes[j] += a[i + j] * b[i + j];
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

}  // namespace carat::reference

#endif  // CARAT_BACKEND_REFERENCE_DOT_H_
