// The real Gemma 3 270M and its goldens, where they are at hand.
#ifndef CARAT_TESTS_ENGINE_REAL_MODEL_H_
#define CARAT_TESTS_ENGINE_REAL_MODEL_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace carat {

inline std::filesystem::path real_model_path() { return CARAT_REAL_MODEL; }
inline std::filesystem::path real_goldens_path() {
  return std::filesystem::path(CARAT_SHARED_DATA) / "real-gemma3-270m";
}

// A test on the real model: skipped, saying so, where the file is absent.
class RealModelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(real_model_path())) {
      GTEST_SKIP() << "the real model is absent: " << real_model_path();
    }
  }
};

// As RealModelTest, with the golden values too.
class RealGoldenTest : public RealModelTest {
 protected:
  void SetUp() override {
    RealModelTest::SetUp();
    if (IsSkipped()) return;
    if (!std::filesystem::exists(real_goldens_path())) {
      GTEST_SKIP() << "golden data is absent: " << real_goldens_path();
    }
    std::ifstream file(real_goldens_path() / "expected-gemma3-270m.json");
    golden_ = nlohmann::json::parse(file);
  }
  nlohmann::json golden_;
};

}  // namespace carat

#endif  // CARAT_TESTS_ENGINE_REAL_MODEL_H_
