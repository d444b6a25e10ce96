#include "cli/npy_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace carat::cli {
namespace {

namespace fs = std::filesystem;

class NpyFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-npy-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_),
                                             fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(NpyFileTest, WritesVersion1) {
  const std::vector<float> row = {1.5F, -2, 0.25F};
  NpyFile file(folder_ / "a.npy", {2, 3});
  file.append(row);
  file.append(row);
  file.commit();
  std::ifstream stream(folder_ / "a.npy", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  ASSERT_EQ(bytes.size(), 128U + 2 * 3 * sizeof(float));
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(bytes.substr(10, 59),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
  EXPECT_EQ(bytes[127], '\n');
  EXPECT_EQ(std::memcmp(bytes.data() + 128 + 12, row.data(), 12), 0);
  EXPECT_EQ(files(), 1U);
}

TEST_F(NpyFileTest, AVectorsShapeHasItsComma) {
  NpyFile file(folder_ / "a.npy", {1});
  file.append(std::vector<float>{1});
  file.commit();
  std::ifstream stream(folder_ / "a.npy", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_NE(bytes.find("'shape': (1,), }"), std::string::npos);
}

TEST_F(NpyFileTest, LeavesNothingWithoutCommit) {
  {
    NpyFile file(folder_ / "a.npy", {2});
    file.append(std::vector<float>{1});
    EXPECT_THROW(file.commit(), std::logic_error);
    EXPECT_THROW(file.append(std::vector<float>{1, 2}), std::logic_error);
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(NpyFileTest, SaysWhatCannotBeOpened) {
  try {
    NpyFile file(folder_ / "none" / "a.npy", {1});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("none/a.npy"), std::string::npos);
  }
}

TEST_F(NpyFileTest, DoesNotReplaceADevice) {
  NpyFile file("/dev/null", {1});
  file.append(std::vector<float>{1});
  file.commit();
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

}  // namespace
}  // namespace carat::cli
