// Draws a chunk sweep as a picture.
#ifndef CARAT_CLI_SWEEP_PLOT_H_
#define CARAT_CLI_SWEEP_PLOT_H_

#include <string>

#include "cli/bench_report.h"

namespace carat::cli {

/// The sweep of `report` as an SVG document: speed over chunk size, with the
/// full mode as a line across. Readable on light and on dark pages.
std::string sweep_svg(const BenchReport& report);

}  // namespace carat::cli

#endif  // CARAT_CLI_SWEEP_PLOT_H_
