#include "backend/cpu/rope_angles.h"

#include <bit>
#include <cstdint>

namespace carat::cpu {
namespace {

// pi / 2 in three parts of 33 bits and a rest, so that n * part is exact for
// |n| < 2^20.
constexpr double kPart1 = 0x1.921fb544p+0;
constexpr double kPart2 = 0x1.0b4611a6p-34;
constexpr double kPart3 = 0x1.3198a2ep-69;
constexpr double kPart4 = 0x1.b839a252049c1p-104;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

constexpr double inverse_factorial(int n) {
  double product = 1;
  for (int i = 2; i <= n; ++i) product *= i;
  return 1 / product;
}

}  // namespace

SineCosine sine_cosine(double angle) {
  // n = angle / (pi / 2), rounded by the unit of this constant.
  constexpr double kShifter = 0x1.8p52;
  const double shifted = angle * kTwoOverPi + kShifter;
  const double n = shifted - kShifter;
  double r = angle - n * kPart1;
  r = r - n * kPart2;
  r = r - n * kPart3;
  r = r - n * kPart4;
  // Taylor series: the next terms are below 2^-58 for |r| <= pi / 4.
  const double x = r * r;
  double s = inverse_factorial(17);
  s = s * x - inverse_factorial(15);
  s = s * x + inverse_factorial(13);
  s = s * x - inverse_factorial(11);
  s = s * x + inverse_factorial(9);
  s = s * x - inverse_factorial(7);
  s = s * x + inverse_factorial(5);
  s = s * x - inverse_factorial(3);
  const double sine = r + r * x * s;
  double c = inverse_factorial(16);
  c = c * x - inverse_factorial(14);
  c = c * x + inverse_factorial(12);
  c = c * x - inverse_factorial(10);
  c = c * x + inverse_factorial(8);
  c = c * x - inverse_factorial(6);
  c = c * x + inverse_factorial(4);
  const double cosine = (1 - 0.5 * x) + x * x * c;
  // The low bits of `shifted` are n.
  const uint64_t quadrant = std::bit_cast<uint64_t>(shifted) & 3;
  const bool is_swapped = quadrant & 1;
  const double sine_part = is_swapped ? cosine : sine;
  const double cosine_part = is_swapped ? sine : cosine;
  return {quadrant & 2 ? -sine_part : sine_part,
          (quadrant + 1) & 2 ? -cosine_part : cosine_part};
}

}  // namespace carat::cpu
