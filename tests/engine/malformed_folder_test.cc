// Broken model folders: a clean error each, and the valid ones as they should
// be. The cases are the golden data's (malformed-inputs/manifest.json).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kFolder = fs::path(CARAT_SHARED_DATA) / "malformed-inputs";

json read_json(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

class MalformedFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kFolder)) GTEST_SKIP() << kFolder << " is not there";
    expected_ = read_json(kFolder / "controls-expected.json");
    const json manifest = read_json(kFolder / "manifest.json");
    for (const json& entry : manifest.at("cases")) {
      if (entry.at("loader") == "hf" || entry.at("loader") == "mlx") {
        cases_.push_back(entry);
      }
    }
    ASSERT_GE(cases_.size(), 58u);
  }

  std::vector<int32_t> ids() const {
    return expected_.at("ids").get<std::vector<int32_t>>();
  }

  std::vector<float> run(const fs::path& path) const {
    EngineOptions options;
    options.backend = "reference";
    options.threads = 1;
    const auto engine = Engine::load(path, options);
    Session session(*engine);
    const auto logits = session.prefill(ids());
    std::vector<float> values(logits.begin(), logits.end());
    session.reset();
    GenerateOptions generate;
    generate.max_tokens = 4;
    generate.ignore_eos = true;
    EXPECT_EQ(session.generate(ids(), generate).tokens.size(), 4u);
    return values;
  }

  void expect_same_as_valid(const std::vector<float>& logits,
                            const std::string& loader) const {
    const auto expected =
        expected_.at("valid-" + loader).get<std::vector<float>>();
    ASSERT_EQ(logits.size(), expected.size());
    float largest = 0;
    for (const float logit : expected) {
      largest = std::max(largest, std::abs(logit));
    }
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_NEAR(logits[i], expected[i], 1e-4f * largest) << i;
    }
  }

  json expected_;
  std::vector<json> cases_;
};

TEST_F(MalformedFolderTest, EveryCaseEndsAsItsManifestSays) {
  for (const json& entry : cases_) {
    const auto id = entry.at("id").get<std::string>();
    SCOPED_TRACE(id + ": " + entry.at("why").get<std::string>());
    const auto expect = entry.at("expect").get<std::string>();
    const fs::path path = kFolder / entry.at("path").get<std::string>();
    try {
      const std::vector<float> logits = run(path);
      EXPECT_NE(expect, "error") << "accepted";
      if (expect == "ok" || expect == "error-or-same-as-valid") {
        expect_same_as_valid(logits, entry.at("loader"));
      }
    } catch (const Error& error) {
      EXPECT_NE(expect, "ok") << error.what();
      const std::string message = error.what();
      EXPECT_NE(message.find(id), std::string::npos)
          << "does not name the file: " << message;
      EXPECT_LT(message.size(), 1000u);
      for (const char c : message) {
        ASSERT_TRUE(c >= 0x20 && c < 0x7f) << "not one line of text";
      }
    }
  }
}

}  // namespace
}  // namespace carat
