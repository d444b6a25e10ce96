#include "formats/gguf_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "carat/error.h"
#include "formats/gguf.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

Bytes some_bytes(size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::byte& byte : bytes) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

class GgufFileWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-writer-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ / "model.gguf";
  }
  void TearDown() override { fs::remove_all(folder_); }

  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_),
                                             fs::directory_iterator()));
  }

  static void expect_refused(const std::function<void()>& call,
                             const std::string& problem) {
    try {
      call();
      ADD_FAILURE() << "accepted; expected: " << problem;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(problem), std::string::npos)
          << error.what();
    }
  }

  fs::path folder_;
  fs::path path_;
};

TEST_F(GgufFileWriterTest, EveryValueIsReadBack) {
  GgufFileWriter writer(path_);
  writer.add("a.u32", uint32_t{4000000000});
  writer.add("a.i32", int32_t{-5});
  writer.add("a.u8", uint8_t{255});
  writer.add("a.i64", std::numeric_limits<int64_t>::min());
  writer.add("a.f32", 0.1f);
  writer.add("a.f64", 0.1);
  writer.add("a.bool", true);
  writer.add("a.text", "caf\xc3\xa9");
  writer.add("a.empty", std::string_view());
  const std::vector<float> scores = {-1.5f, 0, 3e38f};
  const std::vector<int32_t> types = {1, -2, 6};
  const std::vector<std::string_view> tokens = {"<pad>", "", "\n"};
  writer.add_array("b.scores", std::span(scores));
  writer.add_array("b.types", std::span(types));
  writer.add_array("b.tokens", std::span(tokens));
  writer.finish();

  const GgufFile file(path_);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.metadata().size(), 12u);
  EXPECT_EQ(file.find_int("a.u32"), 4000000000);
  EXPECT_EQ(file.find_int("a.i32"), -5);
  EXPECT_EQ(file.find_int("a.u8"), 255);
  EXPECT_EQ(file.find_int("a.i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file.find_float("a.f32"), double{0.1f});
  EXPECT_EQ(file.find_float("a.f64"), 0.1);
  EXPECT_EQ(file.find_bool("a.bool"), true);
  EXPECT_EQ(file.find_string("a.text"), "caf\xc3\xa9");
  EXPECT_EQ(file.find_string("a.empty"), "");
  EXPECT_EQ(*file.find_floats("b.scores"),
            std::vector<double>(scores.begin(), scores.end()));
  EXPECT_EQ(*file.find_ints("b.types"),
            std::vector<int64_t>(types.begin(), types.end()));
  EXPECT_EQ(*file.find_strings("b.tokens"), tokens);
  EXPECT_TRUE(file.tensors().empty());
}

TEST_F(GgufFileWriterTest, EveryEncodingIsReadBackBitForBit) {
  for (const uint32_t alignment : {8u, 32u, 128u}) {
    GgufFileWriter writer(path_, alignment);
    writer.add("general.architecture", "none");
    Bytes all;
    std::vector<Bytes> expected;
    constexpr int kEncodings = static_cast<int>(Encoding::kQ6_K) + 1;
    for (int i = 0; i < kEncodings; ++i) {
      const auto encoding = static_cast<Encoding>(i);
      const EncodingInfo& info = encoding_info(encoding);
      const std::vector<int64_t> shape = {3, 1 * info.block_values};
      writer.add_tensor("tensor." + std::to_string(i), encoding, shape);
      expected.push_back(some_bytes(static_cast<size_t>(3 * info.block_bytes),
                                    static_cast<unsigned>(i)));
      all.insert(all.end(), expected.back().begin(), expected.back().end());
    }
    writer.add_tensor("vector", Encoding::kF32, std::vector<int64_t>{5});
    expected.push_back(some_bytes(20, 99));
    all.insert(all.end(), expected.back().begin(), expected.back().end());
    EXPECT_EQ(writer.tensor_bytes(), std::ssize(all));
    // In pieces that respect no tensor's end.
    for (size_t at = 0; at < all.size(); at += 101) {
      writer.write(
          std::span(all).subspan(at, std::min<size_t>(101, all.size() - at)));
    }
    writer.finish();

    const GgufFile file(path_);
    ASSERT_EQ(file.tensors().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const RawTensor& tensor = file.tensors()[i];
      EXPECT_TRUE(std::ranges::equal(tensor.data, expected[i])) << tensor.name;
      if (i == expected.size() - 1) {
        EXPECT_EQ(tensor.name, "vector");
        EXPECT_EQ(tensor.shape, std::vector<int64_t>{5});
      } else {
        EXPECT_EQ(tensor.encoding, static_cast<Encoding>(i));
        EXPECT_EQ(tensor.rows(), 3);
      }
    }
  }
}

TEST_F(GgufFileWriterTest, TheOldFileStaysUntilTheNewOneIsWhole) {
  std::ofstream(path_) << "old";
  {
    GgufFileWriter writer(path_);
    writer.add_tensor("t", Encoding::kF32, std::vector<int64_t>{4});
    writer.write(some_bytes(8, 1));
    EXPECT_EQ(files(), 2u);
    expect_refused([&] { writer.finish(); }, "'t' has 8 of its 16 bytes");
  }
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(fs::file_size(path_), 3u);
  {
    GgufFileWriter writer(path_);
    writer.add_tensor("t", Encoding::kF32, std::vector<int64_t>{4});
    writer.write(some_bytes(16, 1));
    writer.finish();
  }
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(GgufFile(path_).tensors().size(), 1u);
}

TEST_F(GgufFileWriterTest, MistakesAreRefused) {
  GgufFileWriter writer(path_);
  writer.add("key", 1);
  using Shape = std::vector<int64_t>;
  expect_refused([&] { writer.add("key", "x"); }, "'key': added twice");
  expect_refused([&] { writer.add("", 1); }, "0 bytes long");
  expect_refused([&] { writer.add_tensor("t", Encoding::kF32, Shape{}); },
                 "one or two dimensions");
  expect_refused([&] { writer.add_tensor("t", Encoding::kF32, Shape{0}); },
                 "one or two dimensions");
  expect_refused(
      [&] {
        writer.add_tensor("t", Encoding::kQ4_K, Shape{2, 32});
      },
      "not whole blocks of 256");
  expect_refused(
      [&] {
        writer.add_tensor(std::string(64, 'n'), Encoding::kF32, Shape{1});
      },
      "64 bytes");
  writer.add_tensor("t", Encoding::kF32, Shape{1});
  expect_refused([&] { writer.add_tensor("t", Encoding::kF32, Shape{1}); },
                 "added twice");
  writer.write(some_bytes(4, 1));
  expect_refused([&] { writer.add("late", 1); }, "after the first bytes");
  expect_refused([&] { writer.write(some_bytes(1, 1)); }, "1 bytes more");
  expect_refused([&] { GgufFileWriter(path_, 24); }, "alignment 24");
  GgufFileWriter nowhere(folder_ / "missing" / "m.gguf");
  expect_refused([&] { nowhere.finish(); }, "cannot be written");
}

}  // namespace
}  // namespace carat
