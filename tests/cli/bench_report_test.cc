#include "cli/bench_report.h"

#include <gtest/gtest.h>

#include "cli/sweep_plot.h"

namespace carat::cli {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 100;
  config.hidden_size = 10;
  config.intermediate_size = 20;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 5;
  config.layers.resize(3);
  return config;
}

PrefillTiming timing(PrefillMode mode, int64_t chunk, std::vector<double> ms) {
  PrefillTiming result;
  result.prompt_tokens = 50;
  result.mode = mode;
  result.chunk_tokens = chunk;
  result.ms = std::move(ms);
  return result;
}

BenchReport small_report() {
  BenchReport report;
  report.model = "small & <quick>";
  report.config = small_config();
  report.sweep_prompt_tokens = 50;
  report.prefill = {timing(PrefillMode::kFull, 50, {100, 90, 300}),
                    timing(PrefillMode::kChunked, 16, {50, 40, 45}),
                    timing(PrefillMode::kChunked, 8, {80, 60})};
  report.prefill[1].automatic = true;
  return report;
}

TEST(BenchReportTest, Median) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 9}), 3.5);
}

TEST(BenchReportTest, LinearMacsCountWhatRuns) {
  // Per layer: q and o 2*10*10, k and v 2*10*5, the MLP 3*10*20.
  constexpr int64_t kLayer = 200 + 100 + 600;
  constexpr int64_t kLmHead = 100 * 10;
  const ModelConfig config = small_config();
  EXPECT_EQ(linear_macs(config, 7, PrefillMode::kFull),
            7 * (3 * kLayer + kLmHead));
  EXPECT_EQ(linear_macs(config, 7, PrefillMode::kChunked),
            6 * (2 * kLayer + 100) + 3 * kLayer + kLmHead);
  EXPECT_EQ(linear_macs(config, 1, PrefillMode::kChunked),
            linear_macs(config, 1, PrefillMode::kFull));
}

TEST(BenchReportTest, SharesAreOfTheMachinesPeaks) {
  BenchReport report = small_report();
  EXPECT_EQ(integer_share(report, report.prefill[0]), 0);
  report.peak_integer_gmacs = 0.002;  // 2 million a second
  const double macs = 50 * (3 * 900 + 1000);
  EXPECT_DOUBLE_EQ(integer_share(report, report.prefill[0]), macs / 0.1 / 2e6);
  report.weight_bytes = 1000;
  report.peak_read_gbytes_per_s = 0.001;
  DecodeTiming decode;
  decode.tokens = 10;
  decode.ms = {20};
  EXPECT_DOUBLE_EQ(bandwidth_share(report, decode), 0.5);
}

TEST(BenchReportTest, TheSweepIsSortedAndWithoutTheFullMode) {
  const std::vector<PrefillTiming> sweep = chunk_sweep(small_report());
  ASSERT_EQ(sweep.size(), 2U);
  EXPECT_EQ(sweep[0].chunk_tokens, 8);
  EXPECT_EQ(sweep[1].chunk_tokens, 16);
}

TEST(BenchReportTest, TablesCompareBeforeAndAfter) {
  const std::string text = bench_tables(small_report());
  EXPECT_NE(text.find("2.22x"), std::string::npos) << text;
  EXPECT_NE(text.find("chunked, 16 at a time"), std::string::npos);
  EXPECT_NE(text.find("(auto)"), std::string::npos);
}

TEST(SweepPlotTest, EscapesAndLabels) {
  const std::string svg = sweep_svg(small_report());
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("small &amp; &lt;quick&gt;"), std::string::npos);
  EXPECT_NE(svg.find("16 (auto)"), std::string::npos);
  EXPECT_NE(svg.find("before: full logits, unchunked, 500"), std::string::npos);
  EXPECT_NE(svg.find("prefers-color-scheme: dark"), std::string::npos);
}

TEST(SweepPlotTest, SurvivesHavingNothingToDraw) {
  EXPECT_TRUE(sweep_svg(BenchReport{}).ends_with("</svg>\n"));
}

}  // namespace
}  // namespace carat::cli
