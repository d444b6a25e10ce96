#include "formats/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "carat/error.h"
#include "formats/safetensors_folder.h"
#include "formats/safetensors_writer.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

/// A file of this header and `data_bytes` zeros.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + std::string(data_bytes, '\0');
}

SafetensorsShard parse(const std::string& bytes) {
  return SafetensorsShard(std::as_bytes(std::span(bytes)), "input");
}

void expect_error(const std::string& bytes, const std::string& part,
                  ErrorCode code = ErrorCode::kCorrupt) {
  SCOPED_TRACE(part);
  try {
    parse(bytes);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("input: ")) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST(SafetensorsTest, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string bytes = file_of(
      R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
      R"("__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
      R"("empty":{"dtype":"U8","shape":[0],"data_offsets":[28,28]},)"
      R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[28,36]}}   )",
      36);
  const SafetensorsShard file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].name, "b");
  EXPECT_EQ(file.tensors()[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.tensors()[1].dtype, "F32");
  EXPECT_EQ(file.tensors()[1].data.size(), 24u);
  EXPECT_EQ(file.find("a"), &file.tensors()[0]);
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.find("empty")->data.size(), 0u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.bytes(), static_cast<int64_t>(bytes.size()));
}

TEST(SafetensorsTest, AnEmptyObjectIsAFile) {
  EXPECT_TRUE(parse(file_of("{}", 0)).tensors().empty());
}

TEST(SafetensorsTest, RefusesBrokenHeaders) {
  expect_error("", "header length");
  expect_error("abc", "header length");
  expect_error(file_of("", 0), "begin with '{'");
  expect_error(file_of(" {}", 0), "begin with '{'");
  expect_error(file_of("[]", 0), "begin with '{'");
  expect_error(file_of("{} x", 0), "not JSON");
  expect_error(file_of("{\"a\":", 0), "not JSON");
  expect_error(file_of("{}", 1), "1 follow the header");
  std::string length = file_of("{}", 0);
  length[0] = 3;
  expect_error(length, "header: needs 3 bytes");
  length[7] = '\x80';
  expect_error(length, "at most 100 MB");
  length = file_of("{}", 0);
  const uint64_t most = 100'000'000;
  std::memcpy(length.data(), &most, sizeof(most));
  expect_error(length, "header: needs 100000000 bytes");
  const uint64_t more = most + 1;
  std::memcpy(length.data(), &more, sizeof(more));
  expect_error(length, "at most 100 MB");
  expect_error(file_of("{\"a\xff\":{}}", 0), "not JSON");
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":)";
  expect_error(file_of("{" + a + "[0,1]}," + a + "[1,2]}}", 2), "twice");
  expect_error(file_of(R"({"a":{"dtype":"U8","dtype":"U8"}})", 0), "twice");
  expect_error(
      file_of("{\"a\":" + std::string(40, '[') + std::string(40, ']') + "}", 0),
      "deep");
  expect_error(file_of(R"({"__metadata__":3})", 0), "__metadata__");
  expect_error(file_of(R"({"__metadata__":{"a":3}})", 0), "'a'");
}

TEST(SafetensorsTest, RefusesBrokenEntries) {
  const auto entry = [](const std::string& text, size_t data_bytes = 4) {
    return file_of("{\"a\":" + text + "}", data_bytes);
  };
  expect_error(entry("7"), "is an integer");
  expect_error(entry(R"({"shape":[4],"data_offsets":[0,4]})"), "no dtype");
  expect_error(entry(R"({"dtype":7,"shape":[4],"data_offsets":[0,4]})"),
               "dtype");
  expect_error(entry(R"({"dtype":"F12","shape":[4],"data_offsets":[0,4]})"),
               "'F12'", ErrorCode::kUnsupported);
  expect_error(entry(R"({"dtype":"U8","data_offsets":[0,4]})"), "no shape");
  expect_error(entry(R"({"dtype":"U8","shape":4,"data_offsets":[0,4]})"),
               "shape");
  for (const char* size : {"-4", "4.0", "\"4\"", "null", "1e400"}) {
    SCOPED_TRACE(size);
    expect_error(entry(std::string(R"({"dtype":"U8","shape":[)") + size +
                       R"(],"data_offsets":[0,4]})"),
                 "");
  }
  expect_error(entry(R"({"dtype":"U8","shape":[-2,-2],"data_offsets":[0,4]})"),
               "dimension");
  expect_error(entry(R"({"dtype":"U8","shape":[4]})"), "no data_offsets");
  expect_error(entry(R"({"dtype":"U8","shape":[4],"data_offsets":[0]})"),
               "pair");
  expect_error(entry(R"({"dtype":"U8","shape":[4],"data_offsets":[4,0]})"),
               "behind its end");
  expect_error(entry(R"({"dtype":"U8","shape":[4],"data_offsets":[-4,0]})"),
               "its begin");
  expect_error(entry(R"({"dtype":"U8","shape":[3],"data_offsets":[0,4]})"),
               "has 4 bytes, type and shape need 3");
  expect_error(entry(R"({"dtype":"F4","shape":[7],"data_offsets":[0,4]})"),
               "type and shape need 4");
  expect_error(entry(R"({"dtype":"U8","shape":[4294967296,4294967296,2],)"
                     R"("data_offsets":[0,4]})"),
               "overflows");
  expect_error(entry(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})", 3),
               "follow the header");
  expect_error(entry(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})", 5),
               "follow the header");
}

TEST(SafetensorsTest, RefusesGapsAndOverlaps) {
  const auto two = [](const std::string& second, size_t data_bytes) {
    return file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                   R"("b":{"dtype":"U8","shape":[4],"data_offsets":)" +
                       second + "}}",
                   data_bytes);
  };
  EXPECT_EQ(parse(two("[4,8]", 8)).tensors().size(), 2u);
  expect_error(two("[2,6]", 6), "begins at 2");
  expect_error(two("[0,4]", 4), "begins at 0");
  expect_error(two("[5,9]", 9), "begins at 5");
}

class SafetensorsFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-folder-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  void write_shard(const std::string& name, const std::string& tensor) const {
    write(name,
          file_of("{\"" + tensor +
                      R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                  4));
  }
  void expect_error(const std::string& index, const std::string& part,
                    ErrorCode code = ErrorCode::kCorrupt) const {
    SCOPED_TRACE(part);
    write("model.safetensors.index.json", index);
    try {
      const SafetensorsFolder folder(folder_);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      const std::string message = error.what();
      EXPECT_TRUE(message.starts_with(folder_.string())) << message;
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }

  fs::path folder_;
};

TEST_F(SafetensorsFolderTest, JoinsShards) {
  write_shard("one.safetensors", "a");
  write_shard("two.safetensors", "b");
  write("model.safetensors.index.json",
        R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const SafetensorsFolder folder(folder_);
  EXPECT_EQ(folder.files(), 2u);
  ASSERT_EQ(folder.tensors().size(), 2u);
  EXPECT_EQ(folder.find("b")->name, "b");
  EXPECT_EQ(folder.find("c"), nullptr);
  EXPECT_GT(folder.bytes(), 8);
}

// As transformers has it: a stale index does not matter.
TEST_F(SafetensorsFolderTest, TheSingleFileGoesFirst) {
  write_shard("model.safetensors", "a");
  write("model.safetensors.index.json", "nonsense");
  EXPECT_EQ(SafetensorsFolder(folder_).tensors().size(), 1u);
}

TEST_F(SafetensorsFolderTest, RefusesBrokenIndices) {
  EXPECT_THROW(SafetensorsFolder{folder_}, Error);
  write_shard("one.safetensors", "a");
  expect_error("", "not JSON");
  expect_error("{}", "weight_map is missing");
  expect_error(R"({"weight_map":[]})", "weight_map is a list");
  expect_error(R"({"weight_map":{"a":1}})", "the file of 'a'");
  expect_error(R"({"weight_map":{"a":"two.safetensors"}})", "two.safetensors",
               ErrorCode::kNotFound);
  expect_error(R"({"weight_map":{"b":"one.safetensors"}})",
               "'b' is not in 'one.safetensors'");
  for (const char* name : {"../one.safetensors", "/etc/passwd", "a/b", "..",
                           ".", "", "a\\\\b", "one\\u0000"}) {
    expect_error(std::string(R"({"weight_map":{"a":")") + name + "\"}}",
                 "not the name of a file");
  }
}

TEST_F(SafetensorsFolderTest, WhatIsWrittenIsRead) {
  const std::vector<uint16_t> numbers = {1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(numbers));
  const int64_t shape[] = {2, 2};
  SafetensorsWriter writer(folder_ / "model.safetensors", "mlx");
  writer.add_tensor("b", "BF16", shape);
  writer.add_tensor("a", "U16", std::span(shape).first(1));
  EXPECT_THROW(writer.add_tensor("a", "U16", shape), Error);
  EXPECT_THROW(writer.add_tensor("c", "F12", shape), Error);
  EXPECT_EQ(writer.tensor_bytes(), 12);
  writer.write(bytes.first(5));
  EXPECT_THROW(writer.finish(), Error);
  writer.write(bytes.subspan(5));
  EXPECT_THROW(writer.write(bytes.first(1)), Error);
  writer.finish();
  const SafetensorsFolder folder(folder_);
  EXPECT_TRUE(folder.has_metadata("format", "mlx"));
  ASSERT_EQ(folder.tensors().size(), 2u);
  EXPECT_EQ(folder.tensors()[0]->name, "b");
  EXPECT_EQ(folder.find("b")->shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(std::memcmp(folder.find("a")->data.data(), &numbers[4], 4), 0);
}

}  // namespace
}  // namespace carat
