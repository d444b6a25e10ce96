// A small GGUF model with weights of several types; a test skips without it.
#ifndef CARAT_TESTS_MODEL_TINY_MODEL_H_
#define CARAT_TESTS_MODEL_TINY_MODEL_H_

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/model/loaded_model.h"

namespace carat {

class TinyModelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(path_)) {
      GTEST_SKIP() << "golden data is absent: " << path_;
    }
  }
  std::filesystem::path path_ =
      shared_data() / "tiny-gguf" / "gemma3-mixed-types" / "model.gguf";
};

}  // namespace carat

#endif  // CARAT_TESTS_MODEL_TINY_MODEL_H_
