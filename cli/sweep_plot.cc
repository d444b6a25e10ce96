#include "cli/sweep_plot.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "fmt/format.h"

namespace carat::cli {
namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 420;
constexpr double kLeft = 72;
constexpr double kRight = kWidth - 28;
constexpr double kTop = 72;
constexpr double kBottom = kHeight - 60;

constexpr std::string_view kStyle = R"(<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .grid { stroke: #d0d7de; }
  .axis { stroke: #57606a; }
  .before { stroke: #b35900; stroke-width: 2; stroke-dasharray: 7 5; }
  .before-text { fill: #b35900; }
  .after { stroke: #0969da; stroke-width: 2.5; fill: none; }
  .point { fill: #0969da; }
  .chosen { fill: none; stroke: #0969da; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .grid { stroke: #30363d; }
    .axis { stroke: #9198a1; }
    .before { stroke: #f0883e; }
    .before-text { fill: #f0883e; }
    .after { stroke: #58a6ff; }
    .point { fill: #58a6ff; }
    .chosen { stroke: #58a6ff; }
  }
</style>
)";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// 1, 2 or 5 times a power of ten, so that about five steps reach `top`.
double tick_step(double top) {
  const double rough = std::max(top, 1e-6) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1., 2., 5.}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

std::string text_at(double x, double y, std::string_view anchor,
                    std::string_view text, std::string_view css = "") {
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
      anchor, css.empty() ? "" : fmt::format(" class=\"{}\"", css),
      escaped(text));
}

std::string line_at(double x1, double y1, double x2, double y2,
                    std::string_view css) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
      "class=\"{}\"/>\n",
      x1, y1, x2, y2, css);
}

}  // namespace

std::string sweep_svg(const BenchReport& report) {
  const std::vector<PrefillTiming> sweep = chunk_sweep(report);
  const PrefillTiming* before = full_timing(report, report.sweep_prompt_tokens);

  double fastest = before != nullptr ? before->tokens_per_s() : 0;
  for (const PrefillTiming& timing : sweep) {
    fastest = std::max(fastest, timing.tokens_per_s());
  }
  const double step = tick_step(1.08 * fastest);
  const double top = step * std::max(1., std::ceil(1.08 * fastest / step));
  // Chunk sizes mostly double, so equal steps are a logarithmic axis.
  const auto x_of = [&](size_t index) {
    const double slots = std::max<double>(1, static_cast<double>(sweep.size()));
    return kLeft +
           (kRight - kLeft) * (static_cast<double>(index) + 0.5) / slots;
  };
  const auto y_of = [&](double speed) {
    return kBottom - (kBottom - kTop) * speed / top;
  };

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} "
      "{1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\">\n"
      "<title>Prefill speed by chunk size</title>\n",
      kWidth, kHeight);
  svg += kStyle;
  svg += text_at(kLeft, 28, "start", "Prefill speed by chunk size", "title");
  svg += text_at(
      kLeft, 50, "start",
      fmt::format("{}, prompt of {} tokens, {}, {} thread{}", report.model,
                  report.sweep_prompt_tokens, report.backend, report.threads,
                  report.threads == 1 ? "" : "s"));
  for (double tick = 0; tick <= top * 1.0001; tick += step) {
    svg += line_at(kLeft, y_of(tick), kRight, y_of(tick),
                   tick == 0 ? "axis" : "grid");
    svg += text_at(kLeft - 8, y_of(tick) + 4, "end", fmt::format("{:g}", tick));
  }
  svg +=
      text_at((kLeft + kRight) / 2, kHeight - 14, "middle", "tokens per chunk");
  svg += fmt::format(
      "<text transform=\"translate(18 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">prompt tokens per second</text>\n",
      (kTop + kBottom) / 2);

  if (before != nullptr) {
    const double y = y_of(before->tokens_per_s());
    svg += line_at(kLeft, y, kRight, y, "before");
    svg += text_at(kRight, y + 18, "end",
                   fmt::format("before: full logits, unchunked, {:.0f}",
                               before->tokens_per_s()),
                   "before-text");
  }
  std::string points;
  std::string marks;
  for (size_t i = 0; i < sweep.size(); ++i) {
    const double x = x_of(i);
    const double y = y_of(sweep[i].tokens_per_s());
    points += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", x, y);
    marks += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" class=\"point\"/>\n", x,
        y);
    if (sweep[i].automatic) {
      marks += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"8.5\" class=\"chosen\"/>\n",
          x, y);
    }
    marks += text_at(x, y - 14, "middle",
                     fmt::format("{:.0f}", sweep[i].tokens_per_s()));
    marks += text_at(x, kBottom + 20, "middle",
                     fmt::format("{}{}", sweep[i].chunk_tokens,
                                 sweep[i].automatic ? " (auto)" : ""));
  }
  svg += fmt::format("<polyline points=\"{}\" class=\"after\"/>\n", points);
  return svg + marks + "</svg>\n";
}

}  // namespace carat::cli
