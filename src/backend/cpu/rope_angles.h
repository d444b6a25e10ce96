// Sine and cosine of RoPE angles, the same bits on every machine.
#ifndef CARAT_BACKEND_CPU_ROPE_ANGLES_H_
#define CARAT_BACKEND_CPU_ROPE_ANGLES_H_

namespace carat::cpu {

struct SineCosine {
  double sine;
  double cosine;
};

/// Within 2^-51 for |angle| <= 10^6; loses precision gradually beyond.
/// Thread-safe.
SineCosine sine_cosine(double angle);

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_ROPE_ANGLES_H_
