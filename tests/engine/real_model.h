// The real models and their goldens, where they are at hand.
#ifndef CARAT_TESTS_ENGINE_REAL_MODEL_H_
#define CARAT_TESTS_ENGINE_REAL_MODEL_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace carat {

inline std::filesystem::path real_model_path() { return CARAT_REAL_MODEL; }
inline std::filesystem::path real_llama_path() { return CARAT_REAL_LLAMA; }
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

// A real model and the file that tells its values.
struct RealModel {
  const char* name;
  std::filesystem::path path;
  const char* golden;
  /// What int8 activations may cost of the perplexity, as a ratio less 1.
  double cpu_perplexity_bound;
};

// Skipped where the model or its golden values are absent.
class RealGoldenTest : public testing::TestWithParam<RealModel> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(GetParam().path)) {
      GTEST_SKIP() << "the real model is absent: " << GetParam().path;
    }
    if (!std::filesystem::exists(real_goldens_path())) {
      GTEST_SKIP() << "golden data is absent: " << real_goldens_path();
    }
    std::ifstream file(real_goldens_path() / GetParam().golden);
    golden_ = nlohmann::json::parse(file);
  }
  nlohmann::json golden_;
};

}  // namespace carat

#endif  // CARAT_TESTS_ENGINE_REAL_MODEL_H_
