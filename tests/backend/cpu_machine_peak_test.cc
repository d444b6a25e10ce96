#include <gtest/gtest.h>

#include "backend/cpu/machine_peak.h"
#include "carat/error.h"

namespace carat {
namespace {

TEST(CpuMachinePeakTest, MeasuresSomethingPlausible) {
  const MachinePeak peak = measure_machine_peak("auto", 1);
  EXPECT_GT(peak.integer_gmacs, 0.1);
  EXPECT_LT(peak.integer_gmacs, 1e4);
  EXPECT_GT(peak.read_gbytes_per_s, 0.1);
  EXPECT_LT(peak.read_gbytes_per_s, 1e4);
  EXPECT_THROW(measure_machine_peak("sse9", 1), Error);
}

}  // namespace
}  // namespace carat
