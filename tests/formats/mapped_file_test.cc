#include "formats/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "carat/error.h"
#include "formats/quote.h"

namespace carat {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("carat_mapped_") +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name,
                              const std::string& text) const {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::filesystem::path folder_;
};

std::string text_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ErrorCode code_of(const std::filesystem::path& path) {
  try {
    const MappedFile file(path);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path.filename().string()),
              std::string::npos)
        << error.what();
    return error.code();
  }
  ADD_FAILURE() << path << " was mapped";
  return ErrorCode::kDevice;
}

TEST_F(MappedFileTest, ShowsTheFilesBytes) {
  const MappedFile file(write("a", "hello"));
  EXPECT_EQ(text_of(file), "hello");
}

TEST_F(MappedFileTest, EmptyFileIsAnEmptySpan) {
  const MappedFile file(write("empty", ""));
  EXPECT_TRUE(file.bytes().empty());
}

TEST_F(MappedFileTest, MovesKeepTheMapping) {
  MappedFile first(write("a", "first"));
  const auto* data = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), data);

  MappedFile assigned(write("b", "second"));
  assigned = std::move(moved);
  EXPECT_EQ(assigned.bytes().data(), data);
  EXPECT_EQ(text_of(assigned), "first");
}

TEST_F(MappedFileTest, NamesWhatIsNotAFile) {
  EXPECT_EQ(code_of(folder_ / "absent"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(write("a", "x") / "below"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(folder_), ErrorCode::kNotFound);

  const auto pipe = folder_ / "pipe";  // must not wait for a writer
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(code_of(pipe), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of("/dev/null"), ErrorCode::kInvalidArgument);
}

TEST_F(MappedFileTest, ReleasedPagesReadTheSameAgain) {
  std::string text(100000, 'x');
  for (size_t i = 0; i < text.size(); i += 7) text[i] = 'a' + i % 26;
  const MappedFile file(write("pages", text));
  EXPECT_EQ(text_of(file), text);
  file.release(file.bytes().subspan(5000, 80000));
  file.release(file.bytes().subspan(1, 2));
  file.release(file.bytes());
  EXPECT_EQ(text_of(file), text);
}

TEST_F(MappedFileTest, ReleaseLeavesOtherMemoryAlone) {
  const MappedFile file(write("a", "hello"));
  const std::vector<std::byte> other(100000, std::byte{42});
  file.release(other);
  for (const std::byte value : other) ASSERT_EQ(value, std::byte{42});
}

TEST(Quote, MakesAnyNamePrintable) {
  EXPECT_EQ(quote("blk.0.attn_q"), "'blk.0.attn_q'");
  EXPECT_EQ(quote(std::string_view("a\n\xff\0b", 5)), "'a\\x0a\\xff\\x00b'");
  EXPECT_EQ(quote(std::string(200, 'x')), "'" + std::string(80, 'x') + "...'");
}

}  // namespace
}  // namespace carat
